"""The smallest budget for MobileNetV2 at each image size, and what 256 KB train there: README.md's table.

python bench/smallest_budgets.py
"""

from __future__ import annotations

import sparsebp
from torch import nn

SIZES = (96, 128, 160, 192, 224)
CLASSES = 10


def row(model: nn.Module, size: int) -> str:
    """One size, batch 1. A block is named by the first two parts of its layers' names."""
    image = (3, size, size)
    smallest = sparsebp.min_budget(model, input_size=image)
    plan = sparsebp.plan(model, "256KB", input_size=image, max_update_ratio=0.02)
    begin = ".".join(plan.layers[0].name.split(".")[:2])
    return f"| {size} | {smallest:,} | `{begin}` | {len(plan.layers)} | {plan.peak_bytes:,} |"


def main() -> None:
    """Prints the table."""
    print("| input | smallest budget, bytes | span of 256 KB | layers | peak, bytes |")
    print("|---|---|---|---|---|")
    model = sparsebp.models.mobilenet_v2(CLASSES)
    for size in SIZES:
        print(row(model, size))


if __name__ == "__main__":
    main()
