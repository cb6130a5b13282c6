"""The training steps as a picture: bars by contender, and the line that arithmetic alone would reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebp.benchmark.steps import StepCase, StepResult
from sparsebp.cli.plots import COLOURS, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, THEIRS, FLOOR = COLOURS["saved"], COLOURS["scratch"], COLOURS["sampler"]
PANEL = (5.0, 0.72, 0.25)
"""Inches of a panel: its width, its height without bars, and of each bar."""
TITLE_HEIGHT = 0.7
"""Inches above the panels."""
ROOM = 1.42
"""Width of the panels of a row over the longest bar: room for a label."""
DPI = 150


def draw(cases: Sequence[StepCase], file: Path) -> None:
    """A row of panels, all in one scale, for each input and batch; a column for each number of threads.

    Args:
        cases: of the same numbers of threads for each request, one request after the other.
        file: to write.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # not pyplot: the backend that the user set stays as it is

    columns = len({case.threads for case in cases})
    rows = [cases[i : i + columns] for i in range(0, len(cases), columns)]
    heights = [PANEL[1] + PANEL[2] * len(row[0].results) for row in rows]
    figure = Figure(figsize=(1.3 + PANEL[0] * columns, TITLE_HEIGHT + sum(heights)), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for i, row in enumerate(rows):
        longest = max(r.time.q3 for case in row for r in case.results)
        for j, case in enumerate(row):
            _panel(panels[i][j], case, named=j == 0)
            panels[i][j].set_xlim(0, ROOM * longest)
    title = "A training step: median milliseconds, whiskers from quartile to quartile,", "and how many times sparsebp's"
    figure.suptitle((" " if columns > 1 else "\n").join(title), x=0.01, ha="left", fontsize=10)
    figure.savefig(file, dpi=DPI)


def _panel(axes: Axes, case: StepCase, named: bool) -> None:
    """Bars from the top down; ``named`` if nobody to the left says whose they are."""
    results = case.results
    places = range(len(results))
    for place, result in enumerate(results):
        _bar(axes, place, result, case)
    axes.set_yticks(places, [r.contender if named else "" for r in results], fontsize=8.5)
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(axis="x", labelsize=8, color="0.6", labelcolor="0.35")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("0.6")
    if case.floor is not None:
        _floor(axes, case.floor.sgemm_ms, case.floor.sgemm_share)
    request = case.request
    threads = f"{case.threads} thread{'s' * (case.threads > 1)}"
    axes.set_title(f"{request.height}x{request.width}, batch {request.batch}, {threads}", loc="left", fontsize=9)


def _bar(axes: Axes, place: int, result: StepResult, case: StepCase) -> None:
    time = result.time
    ours = place == 0
    axes.barh(place, time.median, color=OURS if ours else THEIRS, height=0.72)
    axes.plot([time.q1, time.q3], [place, place], color="0.2", linewidth=1.3, solid_capstyle="butt")
    label = f"{time.median:.1f} ms" if ours else f"{time.median:.1f} ms   {case.ratio(result):.2f}x"
    axes.annotate(
        label,
        (max(time.q3, time.median), place),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        fontweight="bold" if ours else "normal",
    )


def _floor(axes: Axes, ms: float, share: float) -> None:
    """What the operations of sparsebp's step would take at the rate of torch's matrix product."""
    axes.axvline(ms, color=FLOOR, linestyle=(0, (4, 2)), linewidth=1.4)
    axes.annotate(
        f"sgemm floor {ms:.1f} ms, {share:.0%} of sparsebp's time",
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color=FLOOR,
    )
