"""Speed and bytes of sparsebp against what a user would write in PyTorch, in one run.

python bench/backward_speed.py --help
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import layers
import sparsebp
import steps
import torch
import typer
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sparsebp import _C
from sparsebp.units import format_bytes
from timing import geometric_mean

STEP_SIZES, STEP_BATCHES = (128, 224), (1, 8)
LAYER_SIZES, LAYER_BATCHES = (224,), (1,)
TORCH_WAYS = ("dense", "slice", "matmul")

LAYER_ROUNDS = 3
"""Rounds of a layer for one of a step: they cost little, and a time slice lost hurts a short time more."""
FILE_WIDTH = 120
"""Columns when the output is not a terminal."""

console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)


def environment() -> dict[str, Any]:
    """What a timing depends on besides the code."""
    return {
        "sparsebp": sparsebp.__version__,
        "isa": _C.chosen_isa(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "cpu": _cpu_name(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def layer_table(results: Sequence[layers.LayerResult], size: int, batch: int) -> Table:
    """One row a layer; times as milliseconds, torch's also as multiples of sparsebp's."""
    table = Table(
        title=f"Backward pass of each layer, {size} px, batch {batch}: ms (times sparsebp's), medians of at "
        f"least {min(r.rounds for r in results)} rounds",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in ("layer", "shape"):
        table.add_column(column)
    for column in ("n", "set", "sparsebp", *TORCH_WAYS):
        table.add_column(column, justify="right", no_wrap=True)
    for r in results:
        times = [f"{r.ms[k]:.3f} ({r.ratio(k):.2f})" if k in r.ms else "" for k in TORCH_WAYS]
        row = (r.shape.name, str(r.shape), str(r.shape.count), str(r.selected))
        table.add_row(*row, f"{r.ms['sparsebp']:.3f}", *times)
    return table


def layer_summary(results: Sequence[layers.LayerResult]) -> dict[str, dict[str, float]]:
    """Geometric means over distinct layers of how many times as long torch takes, by kind of layer.

    ``fastest`` is against the fastest of torch's ways in each layer.
    """
    out = {}
    for kind in ("all", *dict.fromkeys(r.shape.kind for r in results)):
        of_kind = [r for r in results if kind in ("all", r.shape.kind)]
        ratios = {k: [r.ratio(k) for r in of_kind if k in r.ms] for k in TORCH_WAYS}
        ratios["fastest"] = [min(r.ratio(k) for k in TORCH_WAYS if k in r.ms) for r in of_kind]
        out[kind] = {k: geometric_mean(v) for k, v in ratios.items() if v}
    return out


def summary_table(summary: dict[str, dict[str, float]]) -> Table:
    """The geometric means."""
    title = "Geometric means of torch's time over sparsebp's"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("layers")
    columns = (*TORCH_WAYS, "fastest")
    for column in columns:
        table.add_column(f"{column} of these" if column == "fastest" else column, justify="right")
    for kind, means in summary.items():
        table.add_row(kind, *(f"{means[k]:.2f}" if k in means else "" for k in columns))
    return table


def step_table(case: steps.StepCase) -> Table:
    """One row a contender; times and bytes also as multiples of sparsebp's."""
    table = Table(
        title=f"Training step, {case.size} px, batch {case.batch}, {case.rounds} rounds; sparsebp: "
        f"{format_bytes(case.budget)}, {case.update_ratio:.2%} of the convolution weights",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in ("", "trains"):
        table.add_column(column)
    for column in ("median ms", "ratio", "arena bytes", "bytes outside", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    held = [r.arena + r.outside for r in case.results]
    for r, total in zip(case.results, held, strict=True):
        arena = f"{r.arena:,}" if r.arena else ""
        row = (r.contender, r.span, f"{r.ms:.1f}", f"{case.ratio(r):.2f}")
        table.add_row(*row, arena, f"{r.outside:,}", f"{total / held[0]:.1f}")
    return table


def run_layers(
    sizes: Sequence[int], batches: Sequence[int], pattern: str, ratio: float, rounds: int
) -> list[dict[str, Any]]:
    """Measures and prints the first part; returns it as plain data."""
    out = []
    for size in sizes:
        for batch in batches:
            shapes = track(layers.read_shapes(size, pattern), "layers", console=console, transient=True)
            results = layers.measure(shapes, batch, ratio, LAYER_ROUNDS * rounds)
            summary = layer_summary(results)
            console.print(layer_table(results, size, batch), summary_table(summary))
            out.append({"size": size, "batch": batch, "layers": [asdict(r) for r in results], "means": summary})
    return out


def run_steps(sizes: Sequence[int], batches: Sequence[int], ratio: float, rounds: int) -> list[dict[str, Any]]:
    """Measures and prints the second part; returns it as plain data."""
    out = []
    for batch in batches:
        for size in sizes:
            with console.status(f"steps, {size} px, batch {batch}"):
                case = steps.measure(size, batch, ratio, rounds)
            console.print(step_table(case))
            out.append(asdict(case))
    return out


def main(
    only_layers: Annotated[
        str, typer.Option("--layers", metavar="GLOB", help="Time only layers whose name matches.")
    ] = "*",
    size: Annotated[
        list[int] | None,
        typer.Option(min=32, help="Pixels; repeatable. [default: layers 224, steps 128 and 224]"),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images; repeatable. [default: layers 1, steps 1 and 8]")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch's pool, which sparsebp shares.")] = None,
    ratio: Annotated[float, typer.Option(help="Share of the channels, or of the weights, to train.")] = 0.02,
    repeats: Annotated[
        int, typer.Option(min=1, help="Rounds of a step, thrice for layers; slow machines stop earlier.")
    ] = 11,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the results to FILE.")
    ] = None,
    with_layers: Annotated[bool, typer.Option(" /--no-layers", help="Leave the single layers out.")] = True,
    with_steps: Annotated[bool, typer.Option(" /--no-steps", help="Leave the training steps out.")] = True,
) -> None:
    """Times backward passes and training steps of sparsebp and PyTorch, interleaved, and counts bytes."""
    torch.manual_seed(0)
    if threads is not None:
        torch.set_num_threads(threads)
    found: dict[str, Any] = {"environment": environment(), "ratio": ratio, "repeats": repeats}
    console.print(", ".join(f"{k} {v}" for k, v in found["environment"].items()), highlight=False)
    try:
        if with_layers:
            sizes, batches = size or LAYER_SIZES, batch or LAYER_BATCHES
            found["layers"] = run_layers(sizes, batches, only_layers, ratio, repeats)
        if with_steps:
            found["steps"] = run_steps(size or STEP_SIZES, batch or STEP_BATCHES, ratio, repeats)
    except (ValueError, sparsebp.BudgetExceeded) as error:
        raise typer.BadParameter(str(error)) from error
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
