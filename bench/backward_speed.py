"""Speed and bytes of sparsebp against what a user would write in PyTorch, in one run.

python bench/backward_speed.py --help
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import layers
import sparsebp
import torch
import typer
from rich.progress import track
from rich.table import Table
from sparsebp.benchmark.environment import environment
from sparsebp.benchmark.steps import BUDGET_PER_IMAGE, StepRequest, measure
from sparsebp.benchmark.timing import geometric_mean
from sparsebp.cli.bench import describe, step_table
from sparsebp.cli.console import err, is_terminal, out, status, table

STEP_SIZES, STEP_BATCHES = (128, 224), (1, 8)
LAYER_SIZES, LAYER_BATCHES = (224,), (1,)
TORCH_WAYS = ("dense", "slice", "matmul")

LAYER_ROUNDS = 3
"""Rounds of a layer for one of a step: they cost little, and a time slice lost hurts a short time more."""
CLASSES = 10
USUAL_SPLIT = "features.11"
"""The block from which a user trains who has not been told a better one."""


def layer_table(results: Sequence[layers.LayerResult], size: int, batch: int) -> Table:
    """One row a layer; times as milliseconds, torch's also as multiples of sparsebp's."""
    made = table(
        f"Backward pass of each layer, {size} px, batch {batch}: ms (times sparsebp's), medians of at "
        f"least {min(r.rounds for r in results)} rounds",
        *("layer", "shape", "n", "set", "sparsebp", *TORCH_WAYS),
        right=3 + len(TORCH_WAYS),
    )
    for r in results:
        times = [f"{r.ms[k]:.3f} ({r.ratio(k):.2f})" if k in r.ms else "" for k in TORCH_WAYS]
        row = (r.shape.name, str(r.shape), str(r.shape.count), str(r.selected))
        made.add_row(*row, f"{r.ms['sparsebp']:.3f}", *times)
    return made


def layer_summary(results: Sequence[layers.LayerResult]) -> dict[str, dict[str, float]]:
    """Geometric means over distinct layers of how many times as long torch takes, by kind of layer.

    ``fastest`` is against the fastest of torch's ways in each layer.
    """
    means = {}
    for kind in ("all", *dict.fromkeys(r.shape.kind for r in results)):
        of_kind = [r for r in results if kind in ("all", r.shape.kind)]
        ratios = {k: [r.ratio(k) for r in of_kind if k in r.ms] for k in TORCH_WAYS}
        ratios["fastest"] = [min(r.ratio(k) for k in TORCH_WAYS if k in r.ms) for r in of_kind]
        means[kind] = {k: geometric_mean(v) for k, v in ratios.items() if v}
    return means


def summary_table(summary: dict[str, dict[str, float]]) -> Table:
    """The geometric means."""
    columns = (*TORCH_WAYS, "fastest")
    headings = (f"{column} of these" if column == "fastest" else column for column in columns)
    made = table("Geometric means of torch's time over sparsebp's", "layers", *headings)
    for kind, means in summary.items():
        made.add_row(kind, *(f"{means[k]:.2f}" if k in means else "" for k in columns))
    return made


def run_layers(
    sizes: Sequence[int], batches: Sequence[int], pattern: str, ratio: float, rounds: int
) -> list[dict[str, Any]]:
    """Measures and prints the first part; returns it as plain data."""
    found = []
    for size in sizes:
        for batch in batches:
            shapes: Iterable[layers.Shape] = layers.read_shapes(size, pattern)
            if is_terminal(sys.stderr):
                shapes = track(shapes, "layers", console=err, transient=True)
            results = layers.measure(shapes, batch, ratio, LAYER_ROUNDS * rounds)
            summary = layer_summary(results)
            out.print(layer_table(results, size, batch), summary_table(summary))
            found.append({"size": size, "batch": batch, "layers": [asdict(r) for r in results], "means": summary})
    return found


def run_steps(sizes: Sequence[int], batches: Sequence[int], ratio: float, rounds: int) -> list[dict[str, Any]]:
    """Measures and prints the second part; returns it as plain data."""
    found = []
    model = sparsebp.models.mobilenet_v2(CLASSES)
    for batch in batches:
        for size in sizes:
            request = StepRequest(size, size, batch, batch * BUDGET_PER_IMAGE, ratio, rounds, cuts=(USUAL_SPLIT,))
            with status(f"steps, {size} px, batch {batch}"):
                case = measure(model, request)
            out.print(step_table(case))
            found.append(asdict(case))
    return found


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
    out.print(describe(found["environment"]))
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
