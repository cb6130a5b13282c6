"""The smallest budgets that hold a whole step, all but the weights: the table of docs/whole-step.md.

python bench/whole_step.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import sparsebp
import typer
from torch import nn

SIZES = (96, 128, 160, 224)
Sizes = Annotated[list[int] | None, typer.Argument(min=32, help="Pixels a side; 96, 128, 160, 224 if none is given.")]
CLASSES = 10


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MobileNetV2 0.35": lambda: sparsebp.models.mobilenet_v2(CLASSES, 0.35),
    "MobileNetV2 0.5": lambda: sparsebp.models.mobilenet_v2(CLASSES, 0.5),
    "MobileNetV2 1.0": lambda: sparsebp.models.mobilenet_v2(CLASSES),
    "EfficientNet-Lite0": lambda: sparsebp.models.efficientnet_lite0(CLASSES),
}


def row(name: str, size: int) -> str:
    """One network at one size, batch 1: with its picture in the block, with its picture elsewhere, training alone."""
    model = NETWORKS[name]()
    image = {"input_size": (3, size, size)}
    whole = [sparsebp.min_budget(model, scope="step", pictures=where, **image) for where in ("arena", "elsewhere")]
    training = sparsebp.min_budget(model, **image)
    picture = 3 * size * size
    return f"| {name} | {size} | {picture:,} | {whole[0]:,} | {whole[1]:,} | {training:,} |"


def main(sizes: Sizes = None) -> None:
    """Prints the smallest budget that holds a whole training step, for each network at each size, as Markdown."""
    print("| network | input | picture | whole step | without the picture | training alone |")
    print("|---|---|---|---|---|---|")
    for name in NETWORKS:
        for size in sizes or SIZES:
            print(row(name, size))


if __name__ == "__main__":
    typer.run(main)
