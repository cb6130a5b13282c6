"""One fine-tuning step of MobileNetV2 by everything that a user could take instead of sparsebp.

python bench/rivals.py --help
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from shutil import which
from typing import Annotated, Any, Literal

import torch
import typer
from rival_lineup import SESSION, line_up, prepare
from rival_picture import draw
from rival_tables import Case, rival_table
from rival_workers import Rival, measure, missing
from sparsebp.benchmark.candidates import BUDGET_PER_IMAGE, StepRequest
from sparsebp.benchmark.environment import environment
from sparsebp.benchmark.timing import IN_A_ROW, Effort
from sparsebp.cli.bench import describe
from sparsebp.cli.console import err, is_terminal, out, status
from sparsebp.cli.errors import Exit, reported
from sparsebp.cli.numbers import whole, within
from sparsebp.cli.options import checked
from sparsebp.cli.plots import check_plot_file
from sparsebp.files import check_writable, named_errors
from typer.main import get_command

SIZES, BATCHES = (128, 224), (1, 8)
RATIO = 0.02
WHAT, HOW, OUTPUT = "What", "How", "Output"
"""Panels of the help."""


def check_interpreter(name: str) -> None:
    """Raises ValueError unless there is a program of this name."""
    if which(name) is None:
        raise ValueError(f"expected a Python interpreter, got {name!r}")


def absences(rivals: Sequence[Rival]) -> dict[str, str]:
    """By the names of those that are not installed why not, and how one installs them."""
    by_name = {rival.name: rival for rival in rivals}
    reasons = {name: missing(rival) for name, rival in by_name.items()}
    return {name: f"{reason}; {by_name[name].install}" for name, reason in reasons.items() if reason}


def run_case(rivals: Sequence[Rival], request: StepRequest, threads: int, effort: Effort, in_a_row: int) -> Case:
    """Steps of all contenders at one size and batch."""
    with tempfile.TemporaryDirectory() as folder:
        failures = prepare(request, rivals, Path(folder))
        ready = [rival for rival in rivals if rival.title not in failures]
        outcomes, failed, rounds = measure(ready, Path(folder), threads, effort, in_a_row)
    return Case(request, threads, rounds, in_a_row, tuple(outcomes), failures | failed)


def main(
    size: Annotated[
        list[int] | None,
        typer.Option(
            metavar="PIXELS",
            parser=whole(32),
            help="Of the image; repeatable. [default: 128 and 224]",
            rich_help_panel=WHAT,
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N", parser=whole(1), help="Images of a step; repeatable. [default: 1 and 8]", rich_help_panel=WHAT
        ),
    ] = None,
    begin: Annotated[
        int,
        typer.Option(
            "--from",
            metavar="N",
            min=1,
            max=18,
            help="Those that train a part train from features.N on.",
            rich_help_panel=WHAT,
        ),
    ] = 11,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", help="Contenders by name, beside sparsebp's session; repeatable.", rich_help_panel=WHAT
        ),
    ] = None,
    mnn: Annotated[
        str,
        typer.Option(
            metavar="PYTHON",
            callback=checked(check_interpreter),
            help="One that has MNN. [default: this one]",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = sys.executable,
    ort: Annotated[
        str,
        typer.Option(
            metavar="PYTHON",
            callback=checked(check_interpreter),
            help="One that has ONNX Runtime's training. [default: this one]",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = sys.executable,
    threads: Annotated[
        int, typer.Option(metavar="N", parser=whole(1), help="For everybody alike.", rich_help_panel=HOW)
    ] = 1,
    rounds: Annotated[
        int, typer.Option(metavar="N", parser=whole(1), help="Turns of each contender.", rich_help_panel=HOW)
    ] = 21,
    in_a_row: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Steps of a turn, as a training loop takes them; a single one finds cold caches and sleeping threads.",
            rich_help_panel=HOW,
        ),
    ] = IN_A_ROW,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="S",
            parser=within(0, math.inf),
            help="After which a slow machine stops earlier, by size and batch.",
            rich_help_panel=HOW,
        ),
    ] = 60.0,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the numbers to FILE.", rich_help_panel=OUTPUT),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw times and memory (needs matplotlib).", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Times one fine-tuning step of MobileNetV2: sparsebp, torch, memsave_torch, ONNX Runtime, MNN.

    Each in a process of its own, in turns; installs nothing, and names who is not installed. Wall and processor time,
    and the most memory that each process ever took. Whose weights did not change as they should is left out, and the
    exit code is 1 then.
    """
    if json_file is not None:
        check_writable(json_file, "--json")
    if plot is not None:
        check_plot_file(plot)
    torch.set_num_threads(threads)
    surroundings = environment()
    out.print(describe(surroundings))
    requests = [
        StepRequest(pixels, pixels, images, images * BUDGET_PER_IMAGE, RATIO, (f"features.{begin}",))
        for pixels in size or SIZES
        for images in batch or BATCHES
    ]
    patterns = [SESSION, *(only or ["*"])]
    absent: dict[str, str] | None = None
    cases = []
    for request in requests:
        rivals = line_up(begin, request, sys.executable, mnn, ort)
        rivals = [rival for rival in rivals if any(fnmatchcase(rival.name, pattern) for pattern in patterns)]
        if absent is None:
            absent = absences(rivals)
            for name, reason in absent.items():
                err.print(f"{name}: left out: {reason}")
        with status(f"{request.height} px, batch {request.batch}"):
            cases.append(
                run_case(
                    [r for r in rivals if r.name not in absent], request, threads, Effort(rounds, seconds), in_a_row
                )
            )
        out.print(rival_table(cases[-1]))
        out.print()
        for title, failure in cases[-1].failures.items():
            err.print(f"{title}: FAILED, {cases[-1].title}: {failure}")
    if plot is not None:
        with named_errors(plot):
            draw(cases, plot)
    if json_file is not None:
        found: dict[str, Any] = {"environment": surroundings, "ratio": RATIO, "absent": absent}
        found["cases"] = [case.to_dict() for case in cases]
        with named_errors(json_file):
            json_file.write_text(json.dumps(found, indent=2) + "\n")
    if any(case.failures for case in cases):
        raise typer.Exit(Exit.FAILED)


def run(arguments: Sequence[str] | None = None) -> None:
    """The command line, with the exit codes of ``sparsebp``."""
    markup: Literal["rich"] | None = "rich" if is_terminal() else None
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=markup)
    app.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})(main)
    with reported():
        code = get_command(app).main(arguments, Path(__file__).name, standalone_mode=False)
        if code == Exit.INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise SystemExit(code)


if __name__ == "__main__":
    run()
