"""The smallest budget for MobileNetV2 at each image size, and what 256 KB train there: the table of docs/memory.md.

python bench/smallest_budgets.py
"""

from __future__ import annotations

from typing import Annotated

import sparsebp
import typer
from torch import nn

SIZES = (96, 128, 160, 192, 224)
Sizes = Annotated[list[int] | None, typer.Argument(min=32, help="Pixels a side; 96 to 224 by 32 if none is given.")]
CLASSES = 10


def row(model: nn.Module, size: int) -> str:
    """One size, batch 1. A block is named by the first two parts of its layers' names."""
    image = (3, size, size)
    smallest = sparsebp.min_budget(model, input_size=image)
    plan = sparsebp.plan(model, "256KB", input_size=image, max_update_ratio=0.02)
    begin = ".".join(plan.layers[0].name.split(".")[:2])
    return f"| {size} | {smallest:,} | `{begin}` | {len(plan.layers)} | {plan.peak_bytes:,} |"


def main(sizes: Sizes = None) -> None:
    """Prints the smallest budget that trains at each size, and the plan for 256 KB, as Markdown."""
    print("| input | smallest budget, bytes | span of 256 KB | layers | peak, bytes |")
    print("|---|---|---|---|---|")
    model = sparsebp.models.mobilenet_v2(CLASSES)
    for size in sizes or SIZES:
        print(row(model, size))


if __name__ == "__main__":
    typer.run(main)
