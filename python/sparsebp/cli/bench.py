"""``sparsebp bench``: how long training steps take on this machine, and what they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from ..benchmark.candidates import StepRequest, prepare_candidates
from ..benchmark.environment import environment
from ..benchmark.steps import SECONDS, StepCase, Steps
from ..benchmark.timing import IN_A_ROW, Effort, Quartiles
from ..files import check_writable, named_errors
from ..networks.names import build_model
from ..runtime.stop import StopRequest
from ..units import format_bytes
from .console import is_terminal, out, status, table
from .errors import endings
from .numbers import whole, within
from .options import (
    DEFAULT_MODEL,
    MEMORY,
    MODEL,
    OUTPUT,
    Classes,
    MaxUpdateRatio,
    Model,
    Threads,
    checked,
    checked_all,
    parse_budget,
    parse_input_size,
    set_threads,
)

SIZES, BATCHES = ("128", "224"), (1,)


def parse_sizes(sizes: Sequence[str]) -> list[tuple[int, int]]:
    """Each as (height, width).

    Raises:
        ValueError: one is no size.
    """
    return [parse_input_size(size) for size in sizes]


def bench(
    model: Model = DEFAULT_MODEL,
    classes: Classes = 10,
    input_size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIZE",
            help="Pixels of the input, 224 or 128x160; repeatable. [default: 128 and 224]",
            callback=checked_all(parse_sizes),
            rich_help_panel=MODEL,
        ),
    ] = None,
    micro_batch: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="Images of a step; repeatable. [default: 1]",
            parser=whole(1),
            callback=checked_all(len),
            rich_help_panel=MEMORY,
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="BYTES",
            help="Training memory for each image of a step.",
            callback=checked(parse_budget),
            rich_help_panel=MEMORY,
        ),
    ] = "256KB",
    max_update_ratio: MaxUpdateRatio = 0.02,
    repeats: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help=f"Turns of each contender, {IN_A_ROW} steps each.",
            rich_help_panel=OUTPUT,
        ),
    ] = 11,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="S",
            parser=within(0, math.inf),
            help="After which a slow machine stops earlier, by case.",
            rich_help_panel=OUTPUT,
        ),
    ] = SECONDS,
    threads: Threads = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the numbers to FILE.", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Times training steps of sparsebp and of PyTorch, in turns, and counts their bytes.

    "dense" trains everything in PyTorch; "partial" what comes from the first layer of the plan on, all of it, with
    batch norms folded. Medians of whole steps: forward, loss, backward, update.
    """
    if json_file is not None:
        check_writable(json_file, "--json")
    set_threads(threads)
    network = build_model(model, classes)
    found: dict[str, Any] = {"environment": environment(), "model": model, "classes": classes, "steps": []}
    out.print(describe(found["environment"]))
    with endings(), StopRequest() as stop:
        for batch in micro_batch or BATCHES:
            for size in input_size or SIZES:
                height, width = parse_input_size(size)
                request = StepRequest(height, width, batch, batch * parse_budget(budget), max_update_ratio)
                with status(f"{model}, input {height}x{width}, batch {batch} ..."):
                    steps = Steps(prepare_candidates(network, request), stop.check)
                    case = steps.measure(torch.get_num_threads(), Effort(repeats, seconds, IN_A_ROW))
                out.print(step_table([case]))
                found["steps"].append(case.to_dict())
    if json_file is not None:
        with named_errors(json_file):
            json_file.write_text(json.dumps(found, indent=2) + "\n")


def describe(found: dict[str, Any]) -> str:
    """The environment of a measurement in a line."""
    return ", ".join(f"{name} {value}" for name, value in found.items())


def step_table(cases: Sequence[StepCase]) -> Table:
    """One row a contender; times, for each number of threads, and bytes also as multiples of sparsebp's.

    Args:
        cases: of one request, each with another number of threads.
    """
    first, request = cases[0], cases[0].request
    made = table(
        f"Training step, input {request.height}x{request.width}, batch {request.batch}, "
        f"{medians_of([case.rounds for case in cases])}; sparsebp: {format_bytes(request.budget)}, "
        f"{first.update_ratio:.2%} of the convolution weights",
        "",
        "trains",
        *timed_columns([case.threads for case in cases]),
        "arena\nbytes",
        "bytes\noutside",
        "times",
        right=2 * len(cases) + 3,
    )
    held = [r.arena + r.outside for r in first.results]
    for i, r in enumerate(first.results):
        times = [text for case in cases for text in timed(case.results[i].time, case.ratio(case.results[i]))]
        arena = f"{r.arena:,}" if r.arena else ""
        made.add_row(r.contender, r.span, *times, arena, f"{r.outside:,}", f"{held[i] / held[0]:.1f}")
    return compact(made)


def compact(made: Table) -> Table:
    """Lets the columns of a table stand closer, so that many of them fit a terminal."""
    if is_terminal():
        made.padding = (0, 1, 0, 0)
    return made


def medians_of(rounds: Sequence[int]) -> str:
    """What is behind the times of a table, in words."""
    least, most = min(rounds), max(rounds)
    count = f"{least} to {most} rounds" if least < most else f"{most} round{'s' * (most > 1)}"
    return f"medians of {count} ± half the interquartile range"


def timed_columns(threads: Sequence[int]) -> list[str]:
    """The headings over what :func:`timed` writes, for each number of threads."""
    return [text for n in threads for text in (f"{n} thread{'s' * (n > 1)}\nms", "times")]


def timed(ms: Quartiles, ratio: float) -> tuple[str, str]:
    """Milliseconds, and how many times sparsebp's they are."""
    return ms.text(1), f"{ratio:.2f}"
