"""Results as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from experiment_tables import results_of
from experiments import Experiment
from published import PUBLISHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Results = Sequence[dict[str, Any]]
_SIZE, _DPI = (7.0, 4.5), 150
_MIDDLE = 1e8  # bytes; to the right of it names are written to the left


def draw_all(experiments: Sequence[Experiment], results: Results, folder: Path) -> list[Path]:
    """Draws what there are results for; returns the files."""
    made = []
    for name, title, draw in _PICTURES:
        groups = _by_experiment(experiments, results, title[0])
        if groups:
            made.append(_save(folder / name, title[1], lambda axes, d=draw, g=groups: d(axes, g)))
    return made


def _by_experiment(experiments: Sequence[Experiment], results: Results, group: str) -> dict[str, Results]:
    found = {e.what: results_of(e, results) for e in experiments if e.group == group}
    return {what: own for what, own in found.items() if own}


def _save(file: Path, title: str, draw: Callable[[Axes], None]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=_DPI)
    return file


def _over_peak(axes: Axes, groups: dict[str, Results]) -> None:
    _scatter(axes, [(r["plan"]["peak_bytes"] / 1024, r["accuracy"]) for own in groups.values() for r in own])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda kilobytes, _: f"{kilobytes:,.0f}")
    axes.set_xlabel("training memory, KB")


def _over_ratio(axes: Axes, groups: dict[str, Results]) -> None:
    _scatter(axes, [(100 * r["plan"]["update_ratio"], r["accuracy"]) for own in groups.values() for r in own])
    axes.set_xscale("log")
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter(lambda share, _: f"{share:g}")
    axes.set_xlabel("convolution weights trained in a step, %")


def _scatter(axes: Axes, points: list[tuple[float, float]]) -> None:
    places = sorted({x for x, _ in points})
    means = [100 * mean(a for x, a in points if x == place) for place in places]
    axes.plot(places, means, color="#0072B2")
    axes.plot([x for x, _ in points], [100 * a for _, a in points], "o", color="#0072B2", alpha=0.6)
    axes.set_ylabel("accuracy, %")


def _over_epochs(axes: Axes, groups: dict[str, Results]) -> None:
    """With a star for what ends as a mean of epochs."""
    _curves(axes, groups, "accuracy")
    for i, own in enumerate(groups.values()):
        for result in own:
            last = result["epochs"][-1]
            if result["accuracy"] != last["accuracy"]:
                axes.plot(last["number"], 100 * result["accuracy"], "*", color=f"C{i}", markersize=9)
    axes.set_ylabel("test accuracy, %; a star: of a mean of epochs")


def _beside_published(axes: Axes, groups: dict[str, Results]) -> None:
    """Ours twice: the training memory alone, and with the weights and the workspace that papers may count too."""
    for i, (what, own) in enumerate(groups.items()):
        memory, accuracy = own[0]["memory"], 100 * mean(result["accuracy"] for result in own)
        training = memory["measured"] + memory["outside"]
        whole = training + memory["weights"] + memory["workspace"]
        axes.plot([training, whole], [accuracy] * 2, "-", color=f"C{i}", alpha=0.4)
        axes.plot(whole, accuracy, "o", color=f"C{i}", markerfacecolor="white")
        axes.plot(training, accuracy, "o", color=f"C{i}", label=what)
    for point in PUBLISHED:
        axes.plot(point.bytes, 100 * point.accuracy, "k^")
        place, side = (point.bytes, 100 * point.accuracy), "right" if point.bytes > _MIDDLE else "left"
        axes.annotate(point.name, place, (0, -12), textcoords="offset points", fontsize=7, ha=side)
    axes.margins(y=0.09)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda size, _: f"{size / 1e6:g} MB" if size >= 1e6 else f"{size / 1e3:g} KB")
    axes.set_xlabel("memory; filled: training alone, hollow: with weights and workspace, triangles: published")
    axes.set_ylabel("test accuracy, %")
    axes.legend(fontsize=7)


def _coverage(axes: Axes, groups: dict[str, Results]) -> None:
    _curves(axes, groups, "coverage")
    axes.set_ylabel("convolution weights of the planned layers visited, %")
    axes.set_ylim(0, 103)


def _curves(axes: Axes, groups: dict[str, Results], key: str) -> None:
    for i, (what, own) in enumerate(groups.items()):
        for j, result in enumerate(own):
            numbers = [epoch["number"] for epoch in result["epochs"]]
            values = [100 * epoch[key] for epoch in result["epochs"]]
            axes.plot(numbers, values, ".-", color=f"C{i}", alpha=0.8, label=what if j == 0 else None)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("epoch")
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2, frameon=False)


_PICTURES = (
    ("accuracy-budget.png", ("budget", "Accuracy over the budget"), _over_peak),
    ("accuracy-ratio.png", ("ratio", "Accuracy over the share of weights trained in a step"), _over_ratio),
    ("accuracy-epochs.png", ("headline", "CIFAR-10 over the epochs"), _over_epochs),
    ("accuracy-published.png", ("headline", "CIFAR-10 over memory, beside what papers say"), _beside_published),
    ("coverage.png", ("headline", "Coverage over the epochs"), _coverage),
)
