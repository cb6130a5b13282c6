"""``sparsebp predict``: what is on pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import Progress

from ..data import Loader, Preprocess
from ..data.combined import survey
from ..finetuning import Classifier, load
from . import training_options as t
from .console import err, is_terminal, out
from .errors import Exit
from .given_pictures import STDIN, GivenPictures, given_pictures
from .given_weights import given_weights
from .numbers import whole
from .options import MODEL, OUTPUT, Device, Threads, parse_device, set_threads
from .pixel_values import parse_levels
from .report import levels_line, warn_of_lost

_TOP = 3

Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PICTURES",
        help=f"Files, and folders with what is below them; {STDIN} reads paths from standard input, one a line.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="RUN",
        help="The folder of a run, its model.safetensors, or a plan file: any that knows its classes.",
        rich_help_panel=MODEL,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="A network of sparsebp.models, or package.module:function. [default: what the weights say]",
        rich_help_panel=MODEL,
    ),
]
Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        parser=whole(1),
        help=f"Classes to name of each picture, at most. [default: {_TOP}; with --json all of them]",
        rich_help_panel=OUTPUT,
    ),
]
Lines = Annotated[
    bool,
    typer.Option(
        "--json", metavar="", help="Print a JSON object a picture, each on a line of its own.", rich_help_panel=OUTPUT
    ),
]
Together = Annotated[
    int, typer.Option("--batch-size", metavar="N", parser=whole(1), help="Pictures at once.", rich_help_panel=OUTPUT)
]


def predict(
    pictures: Pictures = None,
    weights: Weights = None,
    model: Name = None,
    levels: t.LevelsOf = None,
    workers: t.Workers = None,
    top: Top = None,
    as_json: Lines = False,
    batch_size: Together = 32,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Says what is on pictures: the likeliest classes, and how likely.

    Pictures become input as they did in training, and those of more than 8 bits a sample as sparsebp evaluate has
    them. Those that cannot be read are named and left out; the exit code is
    1 then.
    """
    if weights is None or not pictures:
        raise typer.BadParameter(f"{'--weights' if weights is None else 'PICTURES'} is missing")
    set_threads(threads)
    network = load(given_weights(weights), model=model)
    network.to(parse_device(device))
    source = given_pictures([Path(name) for name in pictures])
    network.preprocess = _at_levels(network.preprocess, source, levels)
    count = min(top or (len(network.classes) if as_json else _TOP), len(network.classes))
    broken = 0
    # What is printed is progress enough where both go to one terminal.
    progress = Progress(console=err, transient=True, disable=not is_terminal(sys.stderr) or is_terminal())
    with progress:
        task = progress.add_task("pictures", total=len(source))
        for each in _predicted(network, source, batch_size, t.worker_count(workers)):
            progress.advance(task)
            if each is None:
                broken += 1
                continue
            index, found = each
            if as_json:
                out.out(_line(source.given(index), network.classes, found, count), highlight=False)
            else:
                out.print(f"{source.name(index)}: {_in_words(network.classes, found, count)}")
    if broken:
        err.print(f"{broken:,} of {len(source):,} pictures could not be read")
        raise typer.Exit(Exit.FAILED)


def _at_levels(preprocess: Preprocess, source: GivenPictures, given: str | None) -> Preprocess:
    """The same with black and white of pictures of more than 8 bits: as given, of the run, or what suits them all."""
    found = survey(source)
    levels = parse_levels(given) if given is not None else preprocess.levels
    if levels is None and found.extremes:  # the run had no such pictures, so that nothing else says it
        levels = found.fitting()
        if levels is not None:
            err.print(f"levels: {levels_line(levels)}")
    warn_of_lost(levels, found)
    return replace(preprocess, levels=levels)


@torch.no_grad()
def _predicted(
    network: Classifier, source: GivenPictures, batch: int, workers: int
) -> Iterator[tuple[int, torch.Tensor] | None]:
    """The number of each picture and the probabilities of its classes; None for one that could not be read."""
    rows = [list(range(i, min(i + batch, len(source)))) for i in range(0, len(source), batch)]
    where = next(network.parameters()).device
    loader = Loader(source, network.preprocess, workers=workers if len(rows) > 1 else 0)
    with loader, closing(loader(rows)) as batches:
        for found in batches:
            for picture in found.broken:
                err.print(f"skipped: {picture}")
                yield None
            if len(found.indices):
                output = network(network.preprocess.normalise(found.images.to(where)))
                shares = output.flatten(1).double().softmax(1).cpu()
                yield from zip(found.indices.tolist(), shares, strict=True)


def _ranked(classes: tuple[str, ...], shares: torch.Tensor, count: int) -> dict[str, float]:
    """The likeliest classes with their probabilities, the likeliest first."""
    order = shares.sort(descending=True, stable=True).indices[:count].tolist()
    return {classes[i]: float(shares[i]) for i in order}


def _in_words(classes: tuple[str, ...], shares: torch.Tensor, count: int) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in _ranked(classes, shares, count).items())


def _line(file: str, classes: tuple[str, ...], shares: torch.Tensor, count: int) -> str:
    found = _ranked(classes, shares, count)
    best = next(iter(found))
    return json.dumps({"file": file, "class": best, "probability": found[best], "probabilities": found})
