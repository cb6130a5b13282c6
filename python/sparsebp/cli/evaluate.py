"""``sparsebp evaluate``: the accuracy of a model in plain torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import Progress
from torch import nn

from ..data import DEFAULT_TEST_SHARE, Dataset, Loader, Preprocess, open_dataset
from ..finetuning.evaluation import TOP, Evaluation, score
from ..model_weights import read_weights
from ..samplers import check_seed
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
from .pretrained import describe, load, preprocess_for
from .progress import format_seconds
from .report import class_table

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
    workers: t.Workers = None,
    strict: t.Strict = False,
    batch_size: Together = 64,
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Tests weights on pictures, in plain torch: no conversion, no budget.

    Weights that sparsebp finetune wrote know their model, input size and classes; others need --model and
    --input-size.
    """
    if weights is None or data is None:
        raise typer.BadParameter(f"{'--weights' if weights is None else '--data'} is missing")
    set_threads(threads)
    known = read_weights(weights).metadata
    share = float(known.get("test_share", DEFAULT_TEST_SHARE)) if test_share is None else test_share
    dataset = open_dataset(data, test_share=share, seed=int(known.get("seed", 0)) if seed is None else seed)
    name = model or known.get("model") or DEFAULT_MODEL
    pretrained = load(name, weights, len(dataset.classes))
    if pretrained.fresh is not None:
        raise ValueError(
            f"--weights: {weights} tells other classes apart than the {len(dataset.classes)} in {data} "
            f"({pretrained.fresh} has another shape); fine-tune first"
        )
    _check_classes(known.get("classes"), dataset)
    usual = known.get("preprocess", {}).get("size", (224, 224))
    size = parse_input_size(input_size) if input_size else (int(usual[0]), int(usual[1]))
    preprocess = preprocess_for(
        pretrained.weights, size, range_=range_, mean=mean, std=std, resize=resize, filter_=filter_
    )
    if not json:
        _header(name, weights, data, dataset, preprocess)
        print_pairs(pretrained.said)
    start = time.monotonic()
    with endings():
        network = pretrained.model.to(parse_device(device))
        found, broken = _evaluate(network, dataset, preprocess, batch_size, workers, strict)
    seconds = time.monotonic() - start
    if json:
        print_json(_as_json(found, dataset, broken))
        return
    top = f"top-{TOP} {found.top5 / found.total:.2%}, " if found.top5 is not None else ""
    out.print(f"accuracy {found.accuracy:.2%}, {top}loss {found.loss:.4f}, {found.total:,} pictures, "
              f"{format_seconds(seconds)}")  # fmt: skip
    out.print(class_table(found, dataset.classes))


def _check_classes(known: Any, dataset: Dataset) -> None:
    if known is not None and list(known) != list(dataset.classes):
        here, there = list(dataset.classes), list(known)
        i = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there)))
        raise ValueError(
            f"--data: its classes are not those that the weights were trained on; class {i} is "
            f"{(here[i : i + 1] or ['missing'])[0]!r} here and {(there[i : i + 1] or ['missing'])[0]!r} there"
        )


def _header(name: str, weights: Path, data: Path, dataset: Dataset, preprocess: Preprocess) -> None:
    print_pairs(
        [
            ("model", f"{name}, {weights}"),
            ("data", f"{data}: {dataset.kind}, {len(dataset.test):,} test pictures, {len(dataset.classes)} classes"),
            ("input", describe(preprocess)),
        ]
    )


def _evaluate(
    model: nn.Module, dataset: Dataset, preprocess: Preprocess, batch: int, workers: int | None, strict: bool
) -> tuple[Evaluation, list[str]]:
    broken: list[str] = []
    where = next(model.parameters()).device
    count = len(dataset.test)
    rows = [list(range(i, min(i + batch, count))) for i in range(0, count, batch)]

    def inputs(loader: Loader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        with closing(loader(rows)) as batches:
            for found in batches:
                for picture in found.broken:
                    if strict:
                        raise picture
                    err.print(f"skipped: {picture}")
                    broken.append(picture.name)
                yield preprocess.normalise(found.images.to(where)), found.labels

    progress = Progress(console=err, transient=True, disable=not is_terminal(sys.stderr))
    with progress, Loader(dataset.test, preprocess, workers=t.worker_count(workers)) as loader:
        task = progress.add_task("test", total=count)
        found = score(inputs(loader), model, len(dataset.classes), lambda done: progress.update(task, completed=done))
    return found, broken


def _as_json(found: Evaluation, dataset: Dataset, broken: list[str]) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "top5": None if found.top5 is None else found.top5 / found.total,
        "loss": found.loss,
        "pictures": found.total,
        "classes": {
            name: {"pictures": n, "correct": c}
            for name, c, n in zip(dataset.classes, found.correct.tolist(), found.pictures.tolist(), strict=True)
        },
        "skipped": broken,
    }
