"""The layers on paper: every time, then what they say together."""

from __future__ import annotations

from collections.abc import Sequence

from layers import LayerResult
from rich.table import Table
from sparsebp.benchmark.timing import Quartiles
from sparsebp.cli.bench import compact, medians_of
from sparsebp.cli.console import table
from summary import ALL, FASTEST, GRADIENTS, OPPONENTS, Comparison, Summary
from ways import BOTH, INPUT, WEIGHT

TITLES = {
    WEIGHT: "Weight gradient of the update set",
    INPUT: "Input gradient",
    BOTH: "Input gradient and weight gradient of the update set",
}


def layer_tables(results: Sequence[LayerResult], where: str) -> list[Table]:
    """One for each gradient that was measured.

    Args:
        results: of one size and batch.
        where: they were measured, for the titles.
    """
    return [
        _layer_table(results, gradient, where) for gradient in GRADIENTS if any(gradient in r.times for r in results)
    ]


def _layer_table(results: Sequence[LayerResult], gradient: str, where: str) -> Table:
    """One row a layer; torch's times also as multiples of sparsebp's."""
    shown = [r for r in results if gradient in r.times]
    ways = list(dict.fromkeys(name for r in shown for name in r.ratios(gradient)))
    trains = gradient != INPUT
    columns = [*(["set"] if trains else []), "sparsebp", *(text for way in ways for text in (way, "times"))]
    made = table(
        f"{TITLES[gradient]}, {where}: microseconds, {medians_of([r.rounds for r in shown])}",
        *("layer", "shape", "n", *columns),
        right=1 + len(columns),
    )
    for r in shown:
        times, ratios = r.times[gradient], r.ratios(gradient)
        cells = [str(r.selected)] if trains else []
        cells += [_microseconds(times["sparsebp"])]
        cells += [text for way in ways for text in _against(times.get(way), ratios.get(way))]
        made.add_row(r.shape.name, str(r.shape), str(r.shape.count), *cells)
    return compact(made)


def _against(time: Quartiles | None, ratio: float | None) -> tuple[str, str]:
    return ("", "") if time is None or ratio is None else (_microseconds(time), f"{ratio:.2f}")


def _microseconds(time: Quartiles) -> str:
    return time.text(0, 1e3)


def means_table(summary: Summary) -> Table:
    """The geometric means."""
    made = table(
        "Geometric means over distinct layers: torch's time over sparsebp's",
        "gradient",
        "layers",
        "",
        *OPPONENTS,
        right=5,
    )
    for gradient, kinds in summary.items():
        for kind, compared in kinds.items():
            count = max(c.layers for c in compared.values())
            cells = (f"{compared[k].mean:.2f}" if k in compared else "" for k in OPPONENTS)
            made.add_row(gradient, kind, str(count), *cells)
    return made


def slower_table(summary: Summary) -> Table:
    """In how many layers sparsebp is slower, and its worst ratio."""
    title = "Layers in which sparsebp is slower, and the worst ratio"
    made = table(title, "gradient", *OPPONENTS, "worst layer", right=1 + len(OPPONENTS))
    for gradient, kinds in summary.items():
        compared = kinds.get(ALL, {})
        if compared:
            cells = (_slower(compared[k]) if k in compared else "" for k in OPPONENTS)
            made.add_row(gradient, *cells, compared[FASTEST].worst_layer)
    return made


def _slower(c: Comparison) -> str:
    return f"{c.slower} of {c.layers}, {c.worst:.2f}"
