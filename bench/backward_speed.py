"""Speed and bytes of sparsebp against what a user would write in PyTorch, in one run.

python bench/backward_speed.py --help
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import layers
import sparsebp
import torch
import typer
from convolutions import Shape, read_shapes
from layer_tables import layer_tables, means_table, slower_table
from picture import draw
from rich.progress import track
from rich.table import Table
from sparsebp import devices
from sparsebp.benchmark.candidates import BUDGET_PER_IMAGE, StepRequest, prepare_candidates
from sparsebp.benchmark.environment import check_isa, environment, force_isa, usable_cores
from sparsebp.benchmark.inference import Inference, InferenceCase
from sparsebp.benchmark.rates import Yardsticks
from sparsebp.benchmark.steps import StepCase, Steps
from sparsebp.benchmark.timing import IN_A_ROW, Effort
from sparsebp.cli.bench import describe, step_table
from sparsebp.cli.console import err, is_terminal, out, status
from sparsebp.cli.errors import Exit, reported
from sparsebp.cli.numbers import whole
from sparsebp.cli.options import checked, checked_all, parse_device
from sparsebp.cli.plots import check_plot_file
from sparsebp.files import check_writable, named_errors
from step_tables import floor_table, inference_table
from summary import plain, summarize
from typer.main import get_command

STEP_SIZES, STEP_BATCHES, GPU_BATCHES = (128, 224), (1, 8), (1, 32, 256)
LAYER_SIZES, LAYER_BATCHES = (224,), (1,)
LAYER_ROUNDS = 3
"""Rounds of a layer for one of a step: they cost little, and a time slice lost hurts a short time more."""
LAYER_SECONDS, STEP_SECONDS, INFERENCE_SECONDS = 1.0, 10.0, 2.0
"""Time limits, the latter two for each size, batch and number of threads: less than five minutes in all."""
CLASSES = 10
WHAT, HOW, OUTPUT = "What", "How", "Output"
"""Panels of the help."""
USUAL_SPLIT = "features.11"
"""The block from which a user trains who has not been told a better one."""


def each_at_least(least: int) -> Callable[[list[int]], None]:
    """Refuses a list with a smaller number."""

    def check(values: list[int]) -> None:
        if any(value < least for value in values):
            raise ValueError(f"expected at least {least}, got {min(values)}")

    return check


def run_layers(
    sizes: Sequence[int], batches: Sequence[int], pattern: str, ratio: float, rounds: int
) -> list[dict[str, Any]]:
    """Measures and prints the single layers; returns what it found as plain data."""
    found = []
    effort = Effort(LAYER_ROUNDS * rounds, LAYER_SECONDS)
    for size in sizes:
        for batch in batches:
            shapes: Iterable[Shape] = read_shapes(size, pattern)
            if is_terminal(sys.stderr):
                shapes = track(shapes, "layers", console=err, transient=True)
            else:
                err.print(f"layers, {size} px, batch {batch}")
            results = layers.measure(shapes, batch, ratio, effort)
            summary = summarize(results)
            threads = torch.get_num_threads()
            where = f"{size} px, batch {batch}, {threads} thread{'s' * (threads > 1)}"
            show(*layer_tables(results, where), means_table(summary), slower_table(summary))
            data = {"layers": [r.to_dict() for r in results], "summary": plain(summary)}
            found.append({"size": size, "batch": batch, "threads": threads, **data})
    return found


def run_steps(
    sizes: Sequence[int], batches: Sequence[int], threads: Sequence[int], ratio: float, rounds: int, device: str
) -> tuple[list[StepCase], list[InferenceCase]]:
    """Measures and prints training steps and inference."""
    model = sparsebp.models.mobilenet_v2(CLASSES)
    yardsticks = Yardsticks() if device == "cpu" else None
    trained: list[StepCase] = []
    inferred = []
    for batch in batches:
        for size in sizes:
            request = StepRequest(size, size, batch, batch * BUDGET_PER_IMAGE, ratio, (USUAL_SPLIT,), device)
            with status(f"steps and inference, {size} px, batch {batch}"):
                candidates = steps = inference = None  # the last request's memory is this one's
                devices.empty_cache(torch.device(device))
                candidates = prepare_candidates(model, request)
                steps, inference = Steps(candidates), Inference(candidates)
                cases = [steps.measure(n, Effort(rounds, STEP_SECONDS, IN_A_ROW), yardsticks) for n in threads]
                inferred.append([inference.measure(n, Effort(rounds, INFERENCE_SECONDS, IN_A_ROW)) for n in threads])
            show(step_table(cases))
            trained += cases
    show(inference_table(inferred), *([floor_table(trained)] if yardsticks is not None else []))
    return trained, [case for cases in inferred for case in cases]


def show(*tables: Table) -> None:
    """Prints tables with a line between them."""
    for table in tables:
        out.print(table)
        out.print()


def main(
    only_layers: Annotated[
        str,
        typer.Option("--layers", metavar="GLOB", help="Time only layers whose name matches.", rich_help_panel=WHAT),
    ] = "*",
    size: Annotated[
        list[int] | None,
        typer.Option(
            metavar="PIXELS",
            help="Of the image; repeatable. Otherwise layers take 224, steps 128 and 224.",
            callback=checked_all(each_at_least(32)),
            rich_help_panel=WHAT,
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="Images at once; repeatable. Otherwise layers take 1, steps 1 and 8.",
            callback=checked_all(each_at_least(1)),
            rich_help_panel=WHAT,
        ),
    ] = None,
    ratio: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Of the channels, or of the weights, to train.", rich_help_panel=WHAT),
    ] = 0.02,
    no_layers: Annotated[
        bool,
        typer.Option("--no-layers", metavar="", help="Leave the single layers out.", rich_help_panel=WHAT),
    ] = False,
    no_steps: Annotated[
        bool,
        typer.Option("--no-steps", metavar="", help="Leave training steps and inference out.", rich_help_panel=WHAT),
    ] = False,
    threads: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="For everybody alike; repeatable, layers take the most. Otherwise 1 and all cores.",
            callback=checked_all(each_at_least(1)),
            rich_help_panel=HOW,
        ),
    ] = None,
    isa: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instruction set for sparsebp, such as scalar. Otherwise the best.",
            callback=checked(check_isa),
            rich_help_panel=HOW,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="cpu, cuda or cuda:NUMBER. On a GPU there are no single layers, and steps take 1, 32 and 256 images.",
            callback=checked(parse_device),
            rich_help_panel=HOW,
        ),
    ] = "cpu",
    repeats: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Rounds of a step, thrice for layers; slow machines stop earlier.",
            parser=whole(1),
            rich_help_panel=HOW,
        ),
    ] = 11,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the numbers to FILE.", rich_help_panel=OUTPUT),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the steps (needs matplotlib).", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Times sparsebp against what a user would write in PyTorch, in turns, and counts bytes.

    Layers of MobileNetV2, whole training steps beside what this machine can do, inference: under five minutes.
    """
    if isa is not None:
        force_isa(isa)
    if json_file is not None:
        check_writable(json_file, "--json")
    if plot is not None:
        if no_steps:
            raise typer.BadParameter("there is nothing to draw with --no-steps", param_hint="--plot")
        check_plot_file(plot)
    torch.manual_seed(0)
    on_cpu = device == "cpu"
    counts = sorted(set(threads or ((1, usable_cores()) if on_cpu else (usable_cores(),))))
    torch.set_num_threads(counts[-1])
    found: dict[str, Any] = {"environment": environment(device), "ratio": ratio, "repeats": repeats}
    out.print(describe(found["environment"]))
    if not no_layers and on_cpu:
        found["layers"] = run_layers(size or LAYER_SIZES, batch or LAYER_BATCHES, only_layers, ratio, repeats)
    if not no_steps:
        trained, inferred = run_steps(
            size or STEP_SIZES, batch or (STEP_BATCHES if on_cpu else GPU_BATCHES), counts, ratio, repeats, device
        )
        found |= {"steps": [case.to_dict() for case in trained], "inference": [case.to_dict() for case in inferred]}
        if plot is not None:
            with named_errors(plot):
                draw(trained, plot)
            err.print(f"drawn: {plot}")
    if json_file is not None:
        with named_errors(json_file):
            json_file.write_text(json.dumps(found, indent=2) + "\n")


def run(arguments: Sequence[str] | None = None) -> None:
    """The command line, with the exit codes of ``sparsebp``."""
    markup: Literal["rich"] | None = "rich" if is_terminal() else None
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=markup)
    app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})(main)
    with reported():
        if get_command(app).main(arguments, Path(__file__).name, standalone_mode=False) == Exit.INTERRUPTED:
            raise KeyboardInterrupt


if __name__ == "__main__":
    run()
