"""The layers of a plan as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .plan_parts import LayerPlan


def layer_table(layers: Sequence[LayerPlan]) -> Any:
    """What trains, one layer a row, for rich to print."""
    from rich import box  # 5 MB, which training alone does without
    from rich.table import Table

    title = f"{len(layers)} trained layers, from {layers[0].name}"
    narrow = (0, 1, 0, 0)  # a MobileNetV2 fits 80 columns
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=narrow
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("kind")
    for column in ("selected", "weights", "saved", "masks", "scratch"):
        table.add_column(column, justify="right")
    for layer in layers:
        table.add_row(
            layer.name,
            layer.kind,
            f"{layer.selected}/{layer.channels}",
            f"{layer.weights:,}",
            *(f"{layer.bytes[c]:,}" for c in ("saved", "masks", "scratch")),
        )
    return table
