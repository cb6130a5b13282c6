"""``sparsebp evaluate``: the accuracy of a model in plain torch."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import Levels, Preprocess
from ..files import named_errors
from ..finetuning.evaluation import TOP, Evaluation
from ..finetuning.loading import check_named
from ..networks.pretrained import read_weights
from ..units import check_seed
from . import training_options as t
from .confusion_plot import plot_confusion
from .console import out, print_json, print_pairs
from .contact_sheet import check_sheet_file, write_sheet
from .errors import endings
from .given_weights import given_weights
from .mistakes import Mistake, mistakes_table
from .numbers import whole
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
from .plots import check_plot_file
from .pretrained import describe, load, preprocess_for
from .progress import format_seconds
from .report import accuracy_lines, levels_row, print_test, warn_of_lost, without
from .tested import Tested, choose_pictures
from .testing import run_test

Name = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help=f"A network of sparsebp.models, timm:NAME, torchvision:NAME, or package.module:function. [default: what "
        f"the weights say, or {DEFAULT_MODEL}]",
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
    int, typer.Option("--batch-size", metavar="N", parser=whole(1), help="Pictures at once.", rich_help_panel=OUTPUT)
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw what pictures were taken for (.png, .svg, .pdf).",
        rich_help_panel=OUTPUT,
    ),
]
Worst = Annotated[
    int,
    typer.Option(
        "--worst",
        metavar="N",
        parser=whole(0),
        help="List the N pictures that are most surely wrong, and draw them on a contact sheet.",
        rich_help_panel=OUTPUT,
    ),
]
WorstSheet = Annotated[
    Path | None,
    typer.Option(
        "--worst-sheet",
        metavar="FILE",
        help="The contact sheet of --worst. [default: worst.png in the run, or beside the weights]",
        rich_help_panel=OUTPUT,
    ),
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
    plot: Plot = None,
    worst: Worst = 0,
    worst_sheet: WorstSheet = None,
    json: Json = False,
) -> None:
    """Tests weights on pictures, in plain torch: no conversion, no budget.

    Weights that sparsebp finetune wrote know their model, input size, classes and the pictures that they were trained
    on; others need --model and --input-size. Classes are known by name, so a folder need not have them all.
    """
    if weights is None or data is None:
        raise typer.BadParameter(f"{'--weights' if weights is None else '--data'} is missing")
    set_threads(threads)
    given, weights = weights.expanduser(), given_weights(weights)
    sheet = worst_sheet or (given if given.is_dir() else weights.parent) / "worst.png"  # checkpoints come and go
    if plot is not None:
        check_plot_file(plot)
    if worst:
        check_sheet_file(sheet)
    elif worst_sheet is not None:
        raise typer.BadParameter("--worst-sheet: it needs --worst, the number of pictures on it")
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
    name = model or str(known.get("model") or DEFAULT_MODEL)
    if model is None:
        check_named(name)
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
    warn_of_lost(tested.dataset.levels, tested.dataset.survey)
    start = time.monotonic()
    with endings():
        network = pretrained.model.to(parse_device(device))
        found, mistakes, broken = run_test(
            network, tested, preprocess, batch=batch_size, workers=t.worker_count(workers), strict=strict
        )
    seconds, confusion, surest = time.monotonic() - start, found.confusion(tested.classes), mistakes.surest(worst)
    if plot is not None:
        with named_errors(plot):
            plot_confusion(confusion, plot, f"{name} on {data}")
    if json:
        if surest:
            write_sheet(surest, tested.source, sheet)
        print_json(_as_json(found, tested, broken, surest))
        return
    print_test(confusion)
    if worst:
        _worst(surest, tested, sheet)
    top = f"top-{TOP} {found.top5 / found.total:.2%}, " if found.top5 is not None else ""
    out.print(f"accuracy {found.accuracy:.2%}{without(found.untested(tested.classes))}, {top}loss {found.loss:.4f}, "
              f"{found.total:,} pictures, {format_seconds(seconds)}")  # fmt: skip
    out.print("\n".join(accuracy_lines(confusion)))
    if tested.learned:
        out.print(f"the weights were trained on {tested.learned:,} of these pictures")
    if plot is not None:
        out.print(f"plot: {plot}")


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


def _worst(worst: list[Mistake], tested: Tested, sheet: Path) -> None:
    """Lists the surest mistakes, and draws them."""
    if not worst:
        out.print("no picture was taken for something else, so there is no contact sheet")
        return
    write_sheet(worst, tested.source, sheet)
    out.print(mistakes_table(worst))
    out.print(f"contact sheet: {sheet}\n")


def _as_json(found: Evaluation, tested: Tested, broken: list[str], worst: list[Mistake]) -> dict[str, Any]:
    return {
        **found.confusion(tested.classes).summary(),
        "top5": None if found.top5 is None else found.top5 / found.total,
        "loss": found.loss,
        "tested": tested.what,
        "learned": tested.learned,
        "untested": found.untested(tested.classes),
        "skipped": broken,
        "worst": [mistake.to_dict() for mistake in worst],
    }
