"""Results as rows: one an experiment, over all of its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from experiments import Experiment


@dataclass(frozen=True)
class Row:
    """One experiment; every field but ``runs`` is text for a table."""

    name: str
    what: str
    accuracy: str
    runs: int
    coverage: str
    layers: str
    weights: str
    peak: str


def summary(experiments: Iterable[Experiment], results: Sequence[dict[str, Any]]) -> list[Row]:
    """A row for each experiment that has a result, in their order. Results of other settings do not count."""
    rows = []
    for experiment in experiments:
        found = results_of(experiment, results)
        if found:
            rows.append(_row(experiment, found))
    return rows


def results_of(experiment: Experiment, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Its results, one for each seed, the newest where a run was repeated."""
    own = [r for r in results if r["identity"] == experiment.identity(r["seed"], r["source"])]
    return list({r["seed"]: r for r in own}.values())


def spread(values: Sequence[float]) -> str:
    """``88.10 ±0.21``: mean and half the distance of the extremes, of shares in percent."""
    text = f"{100 * mean(values):.2f}"
    return text + (f" ±{50 * (max(values) - min(values)):.2f}" if len(values) > 1 else "")


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| experiment | what | accuracy, % | runs | visited after an epoch | layers | weights a step | peak, bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{r.name}` | {r.what} | {r.accuracy} | {r.runs} | {r.coverage} | {r.layers} | {r.weights} | {r.peak} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def _row(experiment: Experiment, found: Sequence[dict[str, Any]]) -> Row:
    plan = found[0]["plan"]
    first = ".".join(plan["first"].split(".")[:2])
    return Row(
        experiment.name,
        experiment.what,
        spread([r["accuracy"] for r in found]),
        len(found),
        f"{min(r['epochs'][0]['coverage'] for r in found):.1%}",
        f"{plan['layers']} from {first}",
        f"{plan['update_ratio']:.2%}",
        f"{plan['peak_bytes']:,}",
    )
