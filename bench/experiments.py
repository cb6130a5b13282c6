"""What is tried: one named experiment for each configuration, in groups that answer a question each.

Sweeps train on the first pictures of the training set and are judged on its last ones, so that the test set has no
say in any choice. The headline and what stands beside it train on all of it and are judged on the test set.
"""

from __future__ import annotations

from typing import Any

from experiment import HELD_OUT, TRAIN, Experiment
from ladder_experiments import ERASING, headlines, ladder
from recipe_experiments import recipes

__all__ = ["EXPERIMENTS", "HELD_OUT", "TRAIN", "Experiment"]

CHOSEN: dict[str, Any] = {"budget": "256KB", "max_update_ratio": 0.02, "input_size": 129, "micro_batch": 1}
"""What every experiment has in common unless it says otherwise; everything else is the defaults of ``finetune``."""


def _sweep(name: str, what: str, **changes: Any) -> Experiment:
    return Experiment(name, what, {**CHOSEN, "epochs": 2, **changes})


def _final(name: str, what: str, seeds: int = 1, **changes: Any) -> Experiment:
    settings = {**CHOSEN, "epochs": 10, "augment": "flip,shift", "label_smoothing": 0.1, **changes}
    return Experiment(name, what, settings, sweep=False, seeds=seeds)


EXPANSIONS, DEPTHWISE, PROJECTIONS = ("*.conv.0.0", "features.18.0"), ("*.conv.1.0",), ("*.conv.2",)
FRONT = ("features.[0-6].*",)
"""Frozen where a sweep says by hand what trains."""

RATES = {"lr": 0.0003, "bias_lr": 0.0015, "classifier_lr": 0.00075}
"""The defaults, for experiments that change one of the three."""
SHIFTS_ALONE, CLASSIFIER_ALONE = RATES | {"lr": 0.0}, RATES | {"lr": 0.0, "bias_lr": 0.0}


def _frozen(*patterns: str) -> dict[str, float]:
    return dict.fromkeys(patterns, 0.0)


def _shares(share: float, *patterns: str) -> dict[str, float]:
    return dict.fromkeys(patterns, share)


SPANS = {
    "64KB": {18: 1.0},
    "128KB": {15: 0.844, 14: 0.708, 12: 0.094, 11: 0.062},
    "256KB": {9: 0.812, 7: 1.0, 6: 0.812},
    "512KB": {5: 1.0, 4: 1.0, 3: 0.625},
    "1MB": {4: 1.0, 2: 1.0},
}
"""Spans around those that the planner chooses: where they begin, and what fits of the layer they begin with."""


def _from_block(block: int, share: float) -> dict[str, float]:
    """Ratios that freeze every block before ``block`` and have a span begin there."""
    first = f"features.{block}.0" if block == 18 else f"features.{block}.conv.0.0"
    return _frozen(*(f"features.{i}.*" for i in range(block))) | {first: share}


SPARING: dict[str, Any] = {"augment": "flip,slide", "label_smoothing": 0.0, "skip_above": 0.9, "lr": 0.0002}
"""The headline's: frozen layers run once a picture, backward passes where there is something to learn."""
MEAN = ERASING | {"epochs": 30, "lr": 0.0001, "schedule": "constant", "average": 22}
"""A long run that does not cool down: its epochs differ, and their mean is better than any of them."""
DENSE: dict[str, Any] = {"budget": "1GB", "max_update_ratio": None, "micro_batch": 16}
OF_ALL = SPARING | DENSE | {"skip_above": 1.0, "lr": 3e-5, "bias_lr": 0.001, "classifier_lr": 0.0005}
"""Every weight, with the headline's augmentation; the rate of the convolutions is what a step of so many can bear."""


EXPERIMENTS: tuple[Experiment, ...] = (
    # All pictures, the test set.
    _final("headline/default", "default plan", seeds=2),
    _final("headline/flips", "default plan, flips alone", seeds=2, augment="flip", label_smoothing=0.0),
    _final("headline/skip", "flips and slides, learned pictures skipped", seeds=3, **SPARING),
    _final("headline/long", "the same, twice as long", **SPARING | {"epochs": 20}),
    _final("headline/forty", "forty epochs, with erase and rest 1", seeds=3, **SPARING | ERASING | {"epochs": 40}),
    _final("headline/mean", "thirty epochs, constant, mean of the last 22", seeds=3, **SPARING | MEAN),
    _final("headline/static", "one set of channels for ever", seeds=3, sampler="static", **SPARING),
    _final("headline/shifts", "shifts and classifier alone", **SHIFTS_ALONE),
    _final("headline/classifier", "classifier alone", **CLASSIFIER_ALONE),
    *headlines({**CHOSEN, "epochs": 10, **SPARING}),
    # What each restriction costs.
    *ladder({**CHOSEN, **SPARING}),
    # Another data set, with the headline's settings: run with its own --data and --out.
    *(
        experiment
        for epochs in (1, 2)
        for experiment in (
            _final(f"other/default {epochs}", f"default plan, epochs: {epochs}", **SPARING | {"epochs": epochs}),
            _final(f"other/dense {epochs}", f"every weight, epochs: {epochs}", **OF_ALL | {"epochs": epochs}),
        )
    ),
    # What finetune chooses by itself, against the headline's settings: ants and bees, parts of CIFAR-10, Fashion-MNIST.
    *recipes({**CHOSEN, "epochs": 10, **SPARING}),
    # How far apart equal settings end.
    Experiment("noise/default", "the sweeps' base", {**CHOSEN, "epochs": 2}, seeds=3),
    # How much memory, how many weights, how large a picture.
    *(
        _sweep(f"budget/{size}", size, budget=size, max_update_ratio=None)
        for size in ("64KB", "128KB", "256KB", "512KB", "1MB")
    ),
    _sweep("budget/dense", "unlimited: every weight", **DENSE),
    *(
        _sweep(
            f"span/{size} {block}",
            f"{size}, from features.{block} on",
            budget=size,
            max_update_ratio=None,
            ratios=_from_block(block, share),
        )
        for size, blocks in SPANS.items()
        for block, share in blocks.items()
    ),
    *(
        _sweep(f"ratio/{share:g}", f"{share:.1%} of the weights, 1 MB", budget="1MB", max_update_ratio=share)
        for share in (0.005, 0.01, 0.02, 0.05, 0.1)
    ),
    *(
        _sweep(f"size/{size}", f"{size} x {size} pixels", input_size=size)
        for size in (97, 113, 128, 129, 145, 160, 161, 193, 224)
    ),
    # Which channels, and for how long.
    *(_sweep(f"sampler/{name}", name, sampler=name) for name in ("random", "cyclic", "importance", "top-k", "static")),
    # The fewer weights a step trains, the more it should matter that they change.
    *(
        _sweep(
            f"few/{name}{suffix}", f"{name}, 0.4% of the weights{what}", sampler=name, max_update_ratio=0.004, **more
        )
        for suffix, what, more in (("", "", {}), (" no shifts", ", no shifts", {"train_bias": False}))
        for name in ("random", "static")
    ),
    *(
        _sweep(f"resample/{batches}", f"a new draw every {batches} batches", resample_every=batches)
        for batches in (4, 16, 64)
    ),
    # Which layers, and how an update is divided among them.
    *(
        _sweep(f"layers/{name}", what, ratios=_shares(share, *names) | _frozen(*others, *FRONT))
        for name, what, share, names, others in (
            ("same share", "2% of every layer", 0.02, ("*.conv.*", "features.18.0"), ()),
            ("expansions", "3.7% of every layer that widens", 0.037, EXPANSIONS, DEPTHWISE + PROJECTIONS),
            ("depthwise", "5% of every depthwise layer", 0.05, DEPTHWISE, EXPANSIONS + PROJECTIONS),
            ("projections", "4% of every projection", 0.04, PROJECTIONS, EXPANSIONS + DEPTHWISE),
        )
    ),
    _sweep("layers/no shifts", "no shifts", train_bias=False),
    _sweep("layers/shifts", "shifts and classifier alone", **SHIFTS_ALONE),
    _sweep("layers/classifier", "classifier alone", **CLASSIFIER_ALONE),
    # A smaller network.
    *(
        Experiment(
            f"prune/{share:g}{suffix}",
            f"{share:.0%} of the channels cut before, chosen by {how}",
            {**CHOSEN, "epochs": 2},
            prune=share,
            prune_by=pictures,
        )
        for share in (0.1, 0.25)
        for suffix, how, pictures in (("", "their weights", 0), (" pictures", "128 pictures", 128))
    ),
    # How fast.
    _sweep("rate/plain", "plain SGD: convolutions and classifier at 0.0075, shifts at 0.06", normalise=False),
    *(
        _sweep(f"rate/{rate:g}", f"convolutions at {rate:g}", **(RATES | {"lr": rate}))
        for rate in (0.0001, 0.0002, 0.0006, 0.0012)
    ),
    *(
        _sweep(f"rate/shifts {rate:g}", f"shifts at {rate:g}", **(RATES | {"bias_lr": rate}))
        for rate in (0.0005, 0.003, 0.006)
    ),
    *(
        _sweep(f"rate/classifier {rate:g}", f"classifier at {rate:g}", **(RATES | {"classifier_lr": rate}))
        for rate in (0.0002, 0.0004, 0.0015)
    ),
    *(
        _sweep(
            f"rate/{part} {factor:g}", f"{what} at {factor:g} times the rate", layer_rates=dict.fromkeys(names, factor)
        )
        for part, what, names in (
            ("depthwise", "depthwise layers", DEPTHWISE),
            ("expansions", "expansions", ("*.conv.0.0",)),
            ("late", "blocks from features.14 on", ("features.1[4-8].*",)),
        )
        for factor in (0.5, 2)
    ),
    _sweep("rate/linear", "linear schedule", schedule="linear"),
    _sweep("rate/constant", "constant rates", schedule="constant"),
    _sweep("rate/warmup", "rates rise during the first tenth", warmup=0.1),
    # Normalised steps of smaller batches add up like a random walk's: the rate goes with the root.
    *(
        _sweep(f"batch/{size}", f"batches of {size}", batch_size=size, lr=0.0003 * (size / 16) ** 0.5)
        for size in (4, 64)
    ),
    # Against overfitting, which takes more than two epochs to begin.
    *(
        _sweep(f"regular/{name}", what, epochs=6, **({"augment": "flip"} | changes))
        for name, what, changes in (
            ("none", "nothing, six epochs", {"augment": "none"}),
            ("flip", "horizontal flips", {}),
            ("shift", "flips and shifts by up to 1/8", {"augment": "flip,shift"}),
            ("crop", "flips and crops of 60 to 100 %", {"augment": "flip,crop"}),
            ("smoothing", "flips, label smoothing 0.1", {"label_smoothing": 0.1}),
            ("slide", "flips and slides", {"augment": "flip,slide"}),
            ("skip", "flips, learned pictures skipped", {"skip_above": 0.9}),
            ("slide, skip", "flips and slides, learned pictures skipped", {"augment": "flip,slide", "skip_above": 0.9}),
            ("static", "flips, learned pictures skipped, static", {"skip_above": 0.9, "sampler": "static"}),
            ("decay", "flips, weight decay 0.0005", {"weight_decay": 0.0005}),
            ("dropout", "flips, no dropout", {"dropout": 0.0}),
        )
    ),
    *(
        _sweep(
            f"regular/headline{name}",
            f"the headline's settings, six epochs{what}",
            **{**SPARING, "epochs": 6, **changes},
        )
        for name, what, changes in (
            ("", "", {}),
            (", smoothing", ", label smoothing 0.1, which leaves few to skip", {"label_smoothing": 0.1}),
            (", crop, color", ", crops and colors in place of slides", {"augment": "crop,color,flip"}),
            (", erase, rest", ", erase, rest 1", ERASING),
        )
    ),
    # The longer the run, the smaller the best rate.
    *(
        _sweep(
            f"regular/rates {factor:g}",
            f"flips, all rates at {factor:g} times",
            epochs=6,
            augment="flip",
            **{name: factor * rate for name, rate in RATES.items()},
        )
        for factor in (0.25, 0.5)
    ),
    # What a long run gains from more weights in a step, and from other ones.
    _sweep("regular/dense", "flips, every weight", epochs=6, augment="flip", **DENSE),
    _sweep(
        "regular/same share",
        "flips, 2% of every layer",
        epochs=6,
        augment="flip",
        ratios=_shares(0.02, "*.conv.*", "features.18.0") | _frozen(*FRONT),
    ),
)
