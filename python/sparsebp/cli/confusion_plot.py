"""A picture of what test pictures were taken for; it needs the optional extra ``plot`` (matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..finetuning import Confusion
from .plots import DPI, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_NUMBERED = 20
"""Classes up to which each field has room for its number."""
_MOST_NAMED = 60
"""Classes up to which each has room for its name."""


def plot_confusion(confusion: Confusion, file: Path, title: str = "") -> None:
    """Draws a field for each pair of classes: what pictures are, downwards, by what they were taken for, across.

    Colours go by the share of a class's pictures, so that small classes are seen as well as large ones.

    Args:
        confusion: the counts.
        file: to write.
        title: above the picture.
    """
    counts, count = confusion.counts, len(confusion.classes)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = float(np.clip(2.6 + 0.55 * count, 4.5, 11.0))
    figure = new_figure(side + 1.0, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    bar.set_label("share of the class's pictures", fontsize=9)
    bar.outline.set_visible(False)
    axes.spines[:].set_visible(False)
    _name_classes(axes, confusion)
    if count <= _MOST_NUMBERED:
        for at in np.argwhere(counts):
            row, column = (int(i) for i in at)
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=9)
    low, high = confusion.interval
    said = f"accuracy {confusion.accuracy:.1%} ({low:.1%} to {high:.1%}), {confusion.total:,} pictures"
    axes.set_title(f"{title}\n{said}" if title else said, loc="left", fontsize=10)
    figure.savefig(file, dpi=DPI)


def _name_classes(axes: Axes, confusion: Confusion) -> None:
    every = -(-len(confusion.classes) // _MOST_NAMED)
    ticks = list(range(0, len(confusion.classes), every))
    names = [shortened(confusion.classes[i]) for i in ticks]
    size = 9 if len(ticks) <= _MOST_NUMBERED else 6
    across = 0 if len(ticks) <= 3 else 90
    axes.set_xticks(ticks, names, rotation=across, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.tick_params(length=0)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
