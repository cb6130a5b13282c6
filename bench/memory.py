"""What one training step of MobileNetV2 holds, measured: under the default plan, and in PyTorch training every layer.

python bench/memory.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import sparsebp
import torch
import typer
from experiments import CHOSEN
from sparsebp.training.audit import audit
from torch import nn

SIZES = (128, 129, 224)
Sizes = Annotated[list[int] | None, typer.Argument(min=32, help="Pixels a side; 128, 129 and 224 if none is given.")]
CLASSES = 10


@dataclass(frozen=True)
class Measured:
    """One picture of ``size`` x ``size`` pixels, in bytes.

    Attributes:
        size: pixels.
        inputs: every convolution's input, which backpropagation keeps.
        features: saved slices and masks that the arena held at once; never less than what was alive at a moment.
        literature: the same as papers count it, at 32, 16 and 8 bits an element.
        dense: all that a dense step holds, weights aside.
        sparse: all that a step under the plan holds, inside the arena and outside.
    """

    size: int
    inputs: int
    features: int
    literature: tuple[int, ...]
    dense: int
    sparse: int


def convolution_inputs(model: nn.Module, x: torch.Tensor) -> int:
    """Bytes of what goes into each of the model's convolutions."""
    total = 0

    def add(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal total
        total += inputs[0].numel() * inputs[0].element_size()

    hooks = [m.register_forward_pre_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return total


def measure(size: int) -> Measured:
    """Runs a step of either kind."""
    torch.manual_seed(0)
    model = sparsebp.models.mobilenet_v2(CLASSES)
    x, y = torch.randn(1, 3, size, size), torch.tensor([0])
    inputs = convolution_inputs(model, x)
    dense = audit(model.train(), x, y).outside_bytes
    converted = sparsebp.convert(
        model,
        CHOSEN["budget"],
        input_size=(3, size, size),
        max_update_ratio=CHOSEN["max_update_ratio"],
        normalise=True,
    )
    step = audit(converted.train(), x, y)
    held = converted.arena.held_peak
    return Measured(
        size,
        inputs,
        held["saved"] + held["masks"],
        tuple(converted.plan.feature_bytes(bits) for bits in (32, 16, 8)),
        dense,
        step.arena_peak + step.outside_bytes,
    )


def table(rows: list[Measured]) -> str:
    """The rows as Markdown."""
    lines = [
        "| input | convolutions' inputs | saved slices and masks | less | counted at 32, 16, 8 bits "
        "| dense step, all | sparse step, all | less |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        counts = ", ".join(f"{count:,}" for count in r.literature)
        lines.append(
            f"| {r.size} | {r.inputs:,} | {r.features:,} | {1 - r.features / r.inputs:.2%} | {counts} | {r.dense:,} | "
            f"{r.sparse:,} | {1 - r.sparse / r.dense:.2%} |"
        )
    return "\n".join(lines)


def main(sizes: Sizes = None) -> None:
    """Prints what a training step holds at each size, as Markdown."""
    print(table([measure(size) for size in sizes or SIZES]))


if __name__ == "__main__":
    typer.run(main)
