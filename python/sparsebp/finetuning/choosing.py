"""The settings of a run: what is given, and for the rest what its checkpoint or a recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data import Dataset
from ..networks.pretrained import WeightFile, usual_preprocess
from .checkpoint import Checkpoint
from .facts import facts_of
from .recipe import CHOSEN, Choice, few_pictures, recipe
from .settings import Settings


def choose(given: Mapping[str, Any], dataset: Dataset, weights: WeightFile, processor: bool = True) -> list[Choice]:
    """What a recipe makes of these pictures and weights.

    Args:
        given: the settings that somebody chose; a ``preprocess`` has its size.
        dataset: the pictures.
        weights: that the run begins with.
        processor: whether a processor trains, not a GPU.
    """
    pixels = given.get("preprocess")
    facts = facts_of(dataset, weights, pixels or usual_preprocess(weights, (1, 1)), given, processor)
    choices = recipe(facts, given)
    if pixels is None or "input_size" in given or choices[0].value == pixels.size:
        return choices
    return [Choice("input_size", pixels.size, "the size that goes with the preprocessing"), *choices[1:]]


def as_begun(given: Mapping[str, Any], begun: Checkpoint) -> dict[str, Any]:
    """The settings of a run that goes on: a recipe's are those that it began with."""
    saved = begun.facts.get("settings")
    known = {name: saved[name] for name in CHOSEN if name in saved} if isinstance(saved, Mapping) else {}
    # JSON has no tuples.
    return {**{name: tuple(v) if isinstance(v, list) else v for name, v in known.items()}, **given}


def small_classes(dataset: Dataset) -> dict[str, int]:
    """The classes with too few training pictures, and how many these are."""
    sizes = np.bincount(dataset.train.labels, minlength=len(dataset.classes)).tolist()
    known = dict(zip(dataset.classes, sizes, strict=True))
    return {name: known[name] for name in few_pictures(known)}


def with_choices(given: Mapping[str, Any], choices: list[Choice]) -> Settings:
    """The settings of a run, all of them."""
    return Settings(**{**given, **{choice.name: choice.value for choice in choices}})
