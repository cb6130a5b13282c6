"""The options of ``finetune`` and ``evaluate``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import DEFAULT_TEST_SHARE
from ..data.preprocess import FILTERS, RESIZES
from .numbers import whole, within
from .options import MEMORY, MODEL, OUTPUT, TRAINING, check_share, checked, checked_all, parse_layer_rates
from .pixel_values import parse_levels, parse_range, parse_triple

DATA = "Pictures"


def _option(name: str, metavar: str, text: str, panel: str, **rest: Any) -> Any:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=panel, **rest)


def one_of(names: Any) -> Any:
    """A typer callback that refuses what is not among ``names``."""

    def check(value: str) -> None:
        if value not in names:
            raise ValueError(f"expected one of {', '.join(names)}, got {value!r}")

    return checked(check)


def check_rate(value: float) -> None:
    """Raises ValueError unless it is a finite number of at least 0."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"expected a finite number of at least 0, got {value}")


Weights = Annotated[
    Path | None,
    _option(
        "--weights",
        "FILE|NAME",
        "Weights: the folder of a run, a .safetensors, a plan file, a checkpoint that torch.save wrote, or "
        "torchvision:NAME or timm:NAME, which that package fetches. Classes keep their rows by name.",
        MODEL,
    ),
]
PlanFile = Annotated[
    Path | None,
    _option(
        "--plan",
        "FILE",
        "A plan that sparsebp plan --save wrote: nothing is planned. What is given beside it must agree.",
        MEMORY,
    ),
]
Data = Annotated[
    Path | None,
    _option(
        "--data",
        "PATH",
        "A folder with a folder per class (train/ and test/ inside, or split by name), an official distribution of "
        "CIFAR-10, a folder with *train.npz and *test.npz, or one with the four files of MNIST.",
        DATA,
    ),
]
TestShare = Annotated[
    float | None,
    _option(
        "--test-share",
        "SHARE",
        "Part of each class that tests, about, where the data has no test set; evaluate takes 1 for all. "
        f"[default: {DEFAULT_TEST_SHARE}; evaluate: as in training, all of another folder]",
        DATA,
    ),
]
Range = Annotated[
    str | None,
    _option(
        "--range",
        "LOW,HIGH",
        "What pixel values 0 and 255 become, before mean and std. [default: what the weights want]",
        DATA,
        callback=checked(parse_range),
    ),
]
LevelsOf = Annotated[
    str | None,
    _option(
        "--levels",
        "LOW,HIGH",
        "Which values are black and white in pictures with more than 8 bits a sample, such as 0,4095. "
        "[default: what the file says, or suits the training pictures, or without such those that are given]",
        DATA,
        callback=checked(parse_levels),
    ),
]
Mean = Annotated[
    str | None,
    _option("--mean", "R,G,B", "Taken off after --range. [default: likewise]", DATA, callback=checked(parse_triple)),
]
Std = Annotated[
    str | None,
    _option("--std", "R,G,B", "Divided by, last. [default: likewise]", DATA, callback=checked(parse_triple)),
]
Resize = Annotated[
    str | None,
    _option(
        "--resize",
        "|".join(RESIZES),
        "How pictures of another shape get the input's. [default: crop]",
        DATA,
        callback=one_of(RESIZES),
    ),
]
Filter = Annotated[
    str | None,
    _option("--filter", "|".join(FILTERS), "How they are scaled. [default: bilinear]", DATA, callback=one_of(FILTERS)),
]
Workers = Annotated[
    int | None,
    _option(
        "--workers",
        "N",
        "Processes that read and resize pictures. [default: half the cores, at most 4]",
        DATA,
        parser=whole(0),
    ),
]
Strict = Annotated[bool, _option("--strict", "", "Fail at a picture that cannot be read.", DATA)]
Rate = Annotated[
    float | None,
    _option(
        "--lr",
        "RATE",
        "Learning rate, for a whole batch. [default: 0.0003, less where a step trains over 2 % of the weights; "
        "with --no-normalise 0.0075]",
        TRAINING,
        callback=checked(check_rate),
    ),
]
BiasRate = Annotated[
    float | None,
    _option(
        "--bias-lr",
        "RATE",
        "Learning rate of shifts and biases. [default: 5 times --lr, with --no-normalise 8 times; if finetune chooses "
        "--lr, it may choose this too]",
        TRAINING,
        callback=checked(check_rate),
    ),
]
ClassifierRate = Annotated[
    float | None,
    _option(
        "--classifier-lr",
        "RATE",
        "Learning rate of the last layer. [default: 2.5 times --lr, with --no-normalise the same; if finetune chooses "
        "--lr, it may choose this too]",
        TRAINING,
        callback=checked(check_rate),
    ),
]
NoNormalise = Annotated[
    bool,
    _option("--no-normalise", "", "Do not divide steps by the running size of their layer's gradient.", TRAINING),
]
LayerRates = Annotated[
    list[str] | None,
    _option(
        "--layer-rate",
        "GLOB=FACTOR",
        "Factor of --lr for the convolutions whose name matches; the last that matches counts. Repeatable.",
        TRAINING,
        callback=checked_all(parse_layer_rates),
    ),
]
Warmup = Annotated[
    float,
    _option(
        "--warmup",
        "SHARE",
        "Part of the run during which the rate rises from zero.",
        TRAINING,
        parser=within(0, 0.99),
    ),
]
BatchSize = Annotated[
    int,
    _option("--batch-size", "N", "Pictures from one draw of the channels to the next.", TRAINING, parser=whole(1)),
]
MomentumOf = Annotated[
    float,
    _option("--momentum", "M", "Of SGD; its state is part of the budget.", TRAINING, parser=within(0, 0.9999)),
]
WeightDecay = Annotated[
    float,
    _option("--weight-decay", "RATE", "L2 penalty on what a step trains.", TRAINING, callback=checked(check_rate)),
]
LabelSmoothing = Annotated[
    float,
    _option(
        "--label-smoothing",
        "SHARE",
        "Part of each target spread over all classes.",
        TRAINING,
        parser=within(0, 1),
    ),
]
SkipAbove = Annotated[
    float,
    _option(
        "--skip-above",
        "P",
        "No backward pass for pictures whose class has a probability above P already; with --micro-batch above 1, "
        "for those that go through together if all have.",
        TRAINING,
        callback=checked(check_share),
    ),
]
Dropout = Annotated[
    float | None,
    _option(
        "--dropout",
        "P",
        "Of the model's dropout layers. [default: as they are]",
        TRAINING,
        parser=within(0, 0.99),
    ),
]
NoTrainBias = Annotated[
    bool, _option("--no-train-bias", "", "Leave batch-norm shifts and convolution biases alone.", TRAINING)
]
Out = Annotated[
    Path | None,
    _option(
        "--out",
        "FOLDER",
        "For checkpoints, the trained weights and a report. [default: sparsebp-run; none for the demo]",
        OUTPUT,
    ),
]
Resume = Annotated[
    bool,
    _option(
        "--resume",
        "",
        "Go on with the run in --out; what is not given is taken from there. Starts at the beginning if there is none.",
        OUTPUT,
    ),
]
CheckpointEvery = Annotated[
    int,
    _option(
        "--checkpoint-every",
        "STEPS",
        "Batches between two checkpoints; each epoch ends with one.",
        OUTPUT,
        parser=whole(1),
    ),
]
Timeout = Annotated[
    float,
    _option("--timeout", "SECONDS", "Under torchrun: how long a process waits for the others.", OUTPUT, min=1),
]
Plot = Annotated[
    Path | None, _option("--plot", "FILE", "Draw the curves of loss and accuracy (.png, .svg, .pdf).", OUTPUT)
]
NoDense = Annotated[
    bool,
    _option(
        "--no-dense-audit", "", "Do not measure what a dense step would hold, which takes that memory once.", OUTPUT
    ),
]


def worker_count(asked: int | None) -> int:
    """Worker processes: as asked, or half the cores that this process may use, at most four."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2)) if asked is None else asked
