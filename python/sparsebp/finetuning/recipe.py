"""The settings that suit some pictures and a budget, where nobody says otherwise; RESULTS.md says what was measured.

Nothing here looks at a picture or a network; what they are like is told by :class:`Facts`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHOSEN = (
    "input_size",
    "augment",
    "epochs",
    "max_update_ratio",
    "saved_bits",
    "lr",
    "bias_lr",
    "classifier_lr",
    "schedule",
    "average",
    "skip_above",
    "rest",
    "batch_size",
    "balance",
)
"""The settings that a recipe chooses."""

FEW = 10
"""A class with fewer training pictures is hardly learned, which is said."""

_LEAST_SIDE, _MOST_SIDE, _STEP = 128, 224, 32
_SMALL_BUDGET = 128 * 1024
_SHOWN = 500_000  # pictures in a whole run: ten epochs of 50,000
_LEAST_EPOCHS, _MOST_EPOCHS = 2, 10
_FEW_WEIGHTS, _SKIP, _BATCH = 0.02, 0.9, 16
_MANY, _OFTEN = 10_000, 6  # pictures and epochs of long runs: with fewer, accuracy suffers from what spares them
_RATE, _RATES_OF_ALL = 0.0002, {"lr": 6e-5, "bias_lr": 0.001, "classifier_lr": 0.0005}
# Of a run that ends with a mean of epochs: its convolutions' rate, how many more epochs it has, what share it averages.
_RATE_OF_MEAN, _LONGER, _AVERAGED = 3e-5, 1.6, 0.625
_UNEVEN = 2.0
_OF_ALL: dict[str, Any] = {
    "sampler": "random",
    "resample_every": 1,
    "momentum": 0.0,
    "gradients": "in_place",
    "normalise": True,
    "train_bias": True,
    "ratios": None,
    "lr": None,
}
"""Beside these values a step trains all that the budget holds; others ask for few, or were measured with few."""


@dataclass(frozen=True)
class Facts:
    """What a recipe goes by.

    Attributes:
        sizes: training pictures of each class.
        side: pixels of a typical picture's shorter side.
        budget: bytes.
        whole_step: whether the budget covers the whole step.
        odd: whether the weights want inputs of 32 n + 1 pixels, as those of TensorFlow do.
        known: height and width of the input that the weights were fine-tuned with before, if they say.
        mirrored: whether a mirror image still shows the same: not of letters and digits.
        processor: whether a processor trains, on which blocks can keep their inputs in 8 bits, and no GPU.
    """

    sizes: tuple[int, ...]
    side: int
    budget: int
    whole_step: bool = False
    odd: bool = False
    known: tuple[int, int] | None = None
    mirrored: bool = True
    processor: bool = True


@dataclass(frozen=True)
class Choice:
    """One setting, and why it is what it is.

    Attributes:
        name: of the setting.
        value: as :class:`sparsebp.finetuning.Settings` takes it.
        why: in a few words.
    """

    name: str
    value: Any
    why: str


def recipe(facts: Facts, given: Mapping[str, Any]) -> list[Choice]:
    """The choices of :data:`CHOSEN`, in this order; what is given stays as it is.

    Args:
        facts: on pictures, weights and budget.
        given: settings that were chosen by somebody, by their names.
    """
    every = _trains_all(facts, given)
    mean = every and _long(facts, given) and not _ends_otherwise(facts, given)
    made = [
        _input_size(facts),
        _augment(facts, given),
        _epochs(facts, mean),
        *_weights(every),
        *_rates(every, mean, given),
        *_end(facts, mean, given),
        _skip(given),
        _rest(facts, given),
        _batch(given),
        _balance(facts),
    ]
    return [Choice(c.name, given[c.name], "given") if c.name in given else c for c in made]


def few_pictures(sizes: Mapping[str, int]) -> list[str]:
    """The classes of which there are fewer than :data:`FEW` training pictures."""
    return [name for name, count in sizes.items() if count < FEW]


def without_slide(choice: Choice, cache: str | None) -> Choice:
    """The augmentation where the frozen layers leave too little of a picture to be moved.

    Args:
        choice: of ``augment``.
        cache: as somebody asked for it, which moving pictures would rule out.
    """
    others = tuple(name for name in choice.value if name not in ("slide", "erase"))
    if cache in ("memory", "disk"):
        return Choice(choice.name, others, "what goes with a cache here")
    return Choice(choice.name, (*others, "shift"), "small changes; what the frozen layers leave is too little to slide")


def _input_size(facts: Facts) -> Choice:
    if facts.known is not None:
        return Choice("input_size", facts.known, "what the weights were fine-tuned with")
    side = -(-facts.side // _STEP) * _STEP
    why = f"pictures of about {facts.side} pixels"
    if side > _LEAST_SIDE and facts.whole_step:
        side, why = _LEAST_SIDE, "the budget holds the whole step"
    elif side > _LEAST_SIDE and facts.budget < _SMALL_BUDGET:
        side, why = _LEAST_SIDE, "a small budget trains more layers of a small input"
    side = min(max(side, _LEAST_SIDE), _MOST_SIDE) + facts.odd
    return Choice("input_size", (side, side), why + ("; TensorFlow's weights want 32 n + 1" if facts.odd else ""))


def _augment(facts: Facts, given: Mapping[str, Any]) -> Choice:
    if not facts.mirrored:
        return Choice("augment", ("slide",), "frozen layers run once a picture; letters and digits are not mirrored")
    names = ("flip", "slide", "erase") if _long(facts, given) else ("flip", "slide")
    return Choice("augment", names, "small changes that let frozen layers run once a picture")


def _epochs(facts: Facts, mean: bool = False) -> Choice:
    count = sum(facts.sizes)
    epochs = min(max(round(_SHOWN / max(1, count)), _LEAST_EPOCHS), _MOST_EPOCHS)
    return Choice("epochs", round(_LONGER * epochs) if mean else epochs, f"{count:,} training pictures")


def _long(facts: Facts, given: Mapping[str, Any]) -> bool:
    """Whether a run is long enough to learn pictures by heart, and to be worth shortening."""
    return sum(facts.sizes) >= _MANY and (given.get("epochs") or _epochs(facts).value) >= _OFTEN


def _ends_otherwise(facts: Facts, given: Mapping[str, Any]) -> bool:
    """Whether somebody has chosen how a run ends, or fewer epochs than a mean needs to be better."""
    chosen = "schedule" in given or "average" in given
    soon = (given.get("epochs") or math.inf) < _epochs(facts, mean=True).value
    return chosen or soon or given.get("keep", "last") != "last" or given.get("patience") is not None


def _trains_all(facts: Facts, given: Mapping[str, Any]) -> bool:
    """Whether a step trains as many weights as the budget holds: 8 bits of blocks' inputs make room for most."""
    asked = any(name in given for name in ("max_update_ratio", "saved_bits"))
    return facts.processor and not asked and all(given.get(name, usual) == usual for name, usual in _OF_ALL.items())


def _weights(every: bool) -> list[Choice]:
    if every:
        return [
            Choice("max_update_ratio", 1.0, "learns most; with 0.02 steps take two thirds of the time"),
            Choice("saved_bits", 8, "makes room for more weights"),
        ]
    why = "what goes with the other settings"
    return [Choice("max_update_ratio", _FEW_WEIGHTS, why), Choice("saved_bits", 32, why)]


def _rates(every: bool, mean: bool, given: Mapping[str, Any]) -> list[Choice]:
    """Plain steps, and other shares of the weights, want other rates, which :class:`LearningRules` knows."""
    if every:
        rates = _RATES_OF_ALL | ({"lr": _RATE_OF_MEAN} if mean else {})
        return [Choice(name, rate, "did best of those measured") for name, rate in rates.items()]
    few = (given.get("max_update_ratio", _FEW_WEIGHTS) or 1.0) <= _FEW_WEIGHTS and not given.get("ratios")
    suits = [Choice(name, None, "what suits the other settings") for name in _RATES_OF_ALL]
    if given.get("normalise", True) and few:
        suits[0] = Choice("lr", _RATE, "did best of those measured, over ten epochs")
    return suits


def _end(facts: Facts, mean: bool, given: Mapping[str, Any]) -> list[Choice]:
    """How the rate falls, and of how many epochs the weights are averaged in the end."""
    if not mean:
        usual = "a rate that falls ends with settled weights"
        return [Choice("schedule", "cosine", usual), Choice("average", 1, "a mean of epochs pays in long runs alone")]
    epochs = given.get("epochs") or _epochs(facts, mean).value
    return [
        Choice("schedule", "constant", "epochs that differ are worth averaging"),
        Choice("average", round(_AVERAGED * epochs), "the mean of epochs learned more than a rate that falls"),
    ]


def _skip(given: Mapping[str, Any]) -> Choice:
    if given.get("label_smoothing"):
        return Choice("skip_above", 1.0, "with smoothed labels no picture gets that far")
    return Choice("skip_above", _SKIP, "what is learned needs no backward pass")


def _rest(facts: Facts, given: Mapping[str, Any]) -> Choice:
    if given.get("skip_above", _skip(given).value) >= 1:
        return Choice("rest", 0, "no picture counts as learned")
    if given.get("gradients") == "sum":
        return Choice("rest", 0, "several processes could not share it")
    if not _long(facts, given):
        return Choice("rest", 0, "in so short a run no look at a picture is one too many")
    return Choice("rest", 1, "what is learned is looked at every second epoch")


def _batch(given: Mapping[str, Any]) -> Choice:
    together, every = given.get("micro_batch", 1), given.get("resample_every", 1)
    if together > _BATCH:
        return Choice("batch_size", together, "as many as go through at once")
    if given.get("sampler") == "static":
        return Choice("batch_size", _BATCH, "what rates are measured for; the channels stay the same")
    each = "each batch" if every == 1 else f"every {every} batches"
    return Choice("batch_size", _BATCH, f"channels are drawn anew for {each}")


def _balance(facts: Facts) -> Choice:
    sizes = [size for size in facts.sizes if size] or [1]
    if max(sizes) <= _UNEVEN * min(sizes):
        return Choice("balance", "none", "classes of similar sizes")
    return Choice("balance", "loss", f"classes of {min(sizes):,} to {max(sizes):,} pictures are to be found alike")
