"""What bench/rivals.py found as a picture: bars of a step's time and of a process's memory, by contender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rival_lineup import SESSION
from rival_tables import MEGABYTE, Case
from sparsebp.cli.plots import COLOURS, DPI, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, THEIRS = COLOURS["saved"], COLOURS["scratch"]
WIDTH, MARGIN, BAR = 12.0, 0.9, 0.25
"""Inches: the picture's width, what a row of panels is high without bars, and each bar."""
ROOM = 1.35
"""Width of a panel over what is longest in it: room for a label."""


def draw(cases: Sequence[Case], file: Path) -> None:
    """A row for each case: to the left times with whiskers from quartile to quartile, to the right memory."""
    require_matplotlib()
    from matplotlib.figure import Figure  # not pyplot: the backend that the user set stays as it is

    heights = [MARGIN + BAR * len(case.outcomes) for case in cases]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    panels = figure.subplots(len(cases), 2, squeeze=False, height_ratios=heights)
    for (left, right), case in zip(panels, cases, strict=True):
        walls = [outcome.wall for outcome in case.outcomes]
        _bars(left, case, [wall.median for wall in walls], [wall.q3 for wall in walls], "ms")
        for place, wall in enumerate(walls):
            left.plot([wall.q1, wall.q3], [place, place], color="0.2", linewidth=1.3, solid_capstyle="butt")
        left.set_yticklabels([o.rival.title for o in case.outcomes], fontsize=8.5)
        left.set_title(f"A step: {case.title}", loc="left", fontsize=9)
        peaks = [outcome.peak / MEGABYTE for outcome in case.outcomes]
        _bars(right, case, peaks, peaks, "MB")
        right.set_yticklabels([])
        right.set_title("Peak memory of the process", loc="left", fontsize=9)
    figure.savefig(file, dpi=DPI)


def _bars(axes: Axes, case: Case, lengths: Sequence[float], ends: Sequence[float], unit: str) -> None:
    """From the top down, in the order of the case's outcomes; ``ends`` are where whiskers end and labels begin."""
    places = range(len(lengths))
    colours = [OURS if outcome.rival.name == SESSION else THEIRS for outcome in case.outcomes]
    axes.barh(places, lengths, color=colours, height=0.72)
    for place, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        label = f"{length:.1f} {unit}"
        axes.annotate(label, (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(places)
    axes.set_ylim(len(lengths) - 0.4, -0.6)
    axes.set_xlim(0, ROOM * max(ends))
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(axis="x", labelsize=8, color="0.6", labelcolor="0.35")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("0.6")
