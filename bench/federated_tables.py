"""Results of federated experiments as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from federated_ways import WAYS
from sparsebp.units import format_bytes

HEAD = (
    "| what travels | after {half} rounds | after {all} | down, a client and round | up | in all |\n" + "|---" * 6 + "|"
)


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """A line for each way: means over seeds, and with several half the distance of the extremes."""
    if not results:
        return "there are no results yet\n"
    setting = results[0]["setting"]
    lines = [HEAD.format(half=setting["rounds"] // 2, all=setting["rounds"])]
    for way, title in WAYS.items():
        own = [r for r in results if r["way"] == way and r["setting"] | {"seed": 0} == setting | {"seed": 0}]
        if own:
            lines.append(_line(title, own, setting))
    return "\n".join(lines) + "\n"


def _line(title: str, own: Sequence[dict[str, Any]], setting: dict[str, Any]) -> str:
    half = [r["accuracy"][setting["rounds"] // 2 - 1] for r in own]
    last = [r["accuracy"][-1] for r in own]
    # Clients begin with the plan file, so nothing comes down in the first round.
    down = mean(mean(r["bytes_down"][1:]) for r in own) / setting["clients"]
    up = mean(mean(r["bytes_up"]) for r in own) / setting["clients"]
    whole = mean(sum(r["bytes_down"]) + sum(r["bytes_up"]) for r in own)
    sizes = [format_bytes(round(size)) if size else "-" for size in (down, up, whole)]
    return f"| {title} | {_spread(half)} | {_spread(last)} | {' | '.join(sizes)} |"


def _spread(values: Sequence[float]) -> str:
    text = f"{100 * mean(values):.1f}"
    return f"{text} %" if len(values) == 1 else f"{text} ±{50 * (max(values) - min(values)):.1f} %"


def draw(results: Sequence[dict[str, Any]], file: Path) -> None:
    """Accuracy over rounds, and over what travelled."""
    if not results:
        raise SystemExit("there are no results yet")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for i, (way, title) in enumerate(WAYS.items()):
        for j, result in enumerate([r for r in results if r["way"] == way]):
            shares = [100 * a for a in result["accuracy"]]
            label = title if j == 0 else None
            left.plot(range(1, len(shares) + 1), shares, ".-", color=f"C{i}", label=label)
            steps = zip(result["bytes_down"], result["bytes_up"], strict=True)
            travelled = [down + up for down, up in steps]
            if any(travelled):
                sums = [sum(travelled[: k + 1]) / 2**20 for k in range(len(travelled))]
                right.plot(sums, shares, ".-", color=f"C{i}")
    left.set_xlabel("round")
    left.set_ylabel("test accuracy, %")
    left.locator_params(axis="x", integer=True)
    left.legend(fontsize="small")
    right.set_xlabel("all that travelled, MB")
    right.set_xscale("log")
    right.xaxis.set_major_formatter(lambda megabytes, _: f"{megabytes:g}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    print(file)
