"""``sparsebp evaluate``: the accuracy of a model in plain torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import Progress
from torch import nn

from ..data import Levels, Loader, Preprocess
from ..data.readable import broken_picture, check_classes
from ..finetuning.evaluation import TOP, Evaluation, score
from ..networks.pretrained import read_weights
from ..units import check_seed
from . import training_options as t
from .console import err, is_terminal, out, print_json, print_pairs
from .errors import endings
from .options import (
    DEFAULT_MODEL,
    MODEL,
    OUTPUT,
    Device,
    Json,
    Threads,
    checked,
    parse_device,
    parse_input_size,
    set_threads,
)
from .pixel_values import parse_levels
from .pretrained import describe, load, preprocess_for
from .progress import format_seconds
from .report import class_table, levels_row, warn_of_lost, without
from .tested import Tested, choose_pictures

Name = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help=f"A network of sparsebp.models, or package.module:function. [default: what the weights say, or "
        f"{DEFAULT_MODEL}]",
        rich_help_panel=MODEL,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--input-size",
        metavar="SIZE",
        help="Pixels of the network's input, 224 or 128x160. [default: what the weights say, or 224]",
        callback=checked(parse_input_size),
        rich_help_panel=MODEL,
    ),
]
SplitSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Of the split, where the data has no test set. [default: what the weights say, or 0]",
        callback=checked(check_seed),
        rich_help_panel=t.DATA,
    ),
]
Every = Annotated[
    bool,
    typer.Option(
        "--all",
        metavar="",
        help="Test every picture, also those to train on. [default: those held out; all of another folder than the "
        "weights were trained on]",
        rich_help_panel=t.DATA,
        show_default=False,
    ),
]
Together = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="Pictures at once.", rich_help_panel=OUTPUT)
]


def evaluate(
    weights: t.Weights = None,
    data: t.Data = None,
    model: Name = None,
    input_size: Size = None,
    test_share: t.TestShare = None,
    seed: SplitSeed = None,
    range_: t.Range = None,
    mean: t.Mean = None,
    std: t.Std = None,
    resize: t.Resize = None,
    filter_: t.Filter = None,
    levels: t.LevelsOf = None,
    every: Every = False,
    workers: t.Workers = None,
    strict: t.Strict = False,
    batch_size: Together = 64,
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Tests weights on pictures, in plain torch: no conversion, no budget.

    Weights that sparsebp finetune wrote know their model, input size, classes and the pictures that they were trained
    on; others need --model and --input-size. Classes are known by name, so a folder need not have them all.
    """
    if weights is None or data is None:
        raise typer.BadParameter(f"{'--weights' if weights is None else '--data'} is missing")
    set_threads(threads)
    known = read_weights(weights).metadata
    usual = known.get("preprocess", {})
    tested = choose_pictures(
        data,
        known,
        f"--weights: {weights}",
        every=every,
        test_share=test_share,
        seed=seed,
        levels=Levels.parse(usual.get("levels")) if levels is None else parse_levels(levels),
    )
    name = model or known.get("model") or DEFAULT_MODEL
    pretrained = load(name, weights, len(tested.classes))
    if pretrained.fresh is not None:
        raise ValueError(
            f"--weights: {weights} tells other classes apart than the {len(tested.classes)} in {data} "
            f"({pretrained.fresh} has another shape); fine-tune first"
        )
    height, width = parse_input_size(input_size) if input_size else usual.get("size", (224, 224))
    preprocess = preprocess_for(
        pretrained.weights, (int(height), int(width)), range_=range_, mean=mean, std=std, resize=resize, filter_=filter_
    )
    preprocess = replace(preprocess, levels=tested.dataset.levels)
    if not json:
        _header(name, weights, data, tested, preprocess)
        print_pairs(pretrained.said)
    warn_of_lost(tested.dataset)
    start = time.monotonic()
    with endings():
        network = pretrained.model.to(parse_device(device))
        found, broken = _evaluate(network, tested, preprocess, batch_size, workers, strict)
    seconds = time.monotonic() - start
    if json:
        print_json(_as_json(found, tested, broken))
        return
    top = f"top-{TOP} {found.top5 / found.total:.2%}, " if found.top5 is not None else ""
    out.print(f"accuracy {found.accuracy:.2%}{without(found.untested(tested.classes))}, {top}loss {found.loss:.4f}, "
              f"{found.total:,} pictures, {format_seconds(seconds)}")  # fmt: skip
    if tested.learned:
        out.print(f"the weights were trained on {tested.learned:,} of these pictures")
    out.print(class_table(found.by_class(tested.classes)))


def _header(name: str, weights: Path, data: Path, tested: Tested, preprocess: Preprocess) -> None:
    dataset = tested.dataset
    print_pairs(
        [
            ("model", f"{name}, {weights}"),
            ("data", f"{data}: {dataset.kind}, {len(dataset.classes)} class{'es' * (len(dataset.classes) != 1)}"),
            ("tested", tested.what),
            ("input", describe(preprocess)),
            *levels_row(dataset),
        ]
    )


def _evaluate(
    model: nn.Module, tested: Tested, preprocess: Preprocess, batch: int, workers: int | None, strict: bool
) -> tuple[Evaluation, list[str]]:
    broken: list[str] = []
    where = next(model.parameters()).device
    count, everything = len(tested.source), tested.dataset.everything
    rows = [list(range(i, min(i + batch, count))) for i in range(0, count, batch)]

    def inputs(loader: Loader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        with closing(loader(rows)) as batches:
            for found in batches:
                for picture in found.broken:
                    if strict:
                        raise picture
                    err.print(f"skipped: {picture}")
                    broken.append(picture.name)
                yield preprocess.normalise(found.images.to(where)), tested.labels[found.labels]

    check_classes(everything, tested.dataset.classes, partial(broken_picture, everything))
    progress = Progress(console=err, transient=True, disable=not is_terminal(sys.stderr))
    with progress, Loader(tested.source, preprocess, workers=t.worker_count(workers)) as loader:
        task = progress.add_task("test", total=count)
        found = score(inputs(loader), model, len(tested.classes), lambda done: progress.update(task, completed=done))
    return found, broken


def _as_json(found: Evaluation, tested: Tested, broken: list[str]) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "top5": None if found.top5 is None else found.top5 / found.total,
        "loss": found.loss,
        "pictures": found.total,
        "tested": tested.what,
        "learned": tested.learned,
        "classes": found.by_class(tested.classes),
        "untested": found.untested(tested.classes),
        "skipped": broken,
    }
