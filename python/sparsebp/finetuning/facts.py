"""What a recipe goes by, looked up in the pictures and the weights of a run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..data import BrokenPicture, Dataset, Preprocess
from ..networks.pretrained import WeightFile
from ..units import parse_bytes
from .recipe import Facts
from .settings import Settings

_LOOKED_AT = 32
"""Pictures, spread evenly over the training set, that say how large they are."""


def facts_of(
    dataset: Dataset, weights: WeightFile, preprocess: Preprocess, given: Mapping[str, Any], processor: bool = True
) -> Facts:
    """The facts of a run.

    Args:
        dataset: the pictures.
        weights: that it begins with.
        preprocess: how these want their pictures, at whatever size.
        given: the settings that somebody chose.
        processor: whether a processor trains, not a GPU.
    """
    known = weights.metadata.get("preprocess")
    plain = [name.strip() for name in dataset.classes]
    return Facts(
        sizes=tuple(np.bincount(dataset.train.labels, minlength=len(dataset.classes)).tolist()),
        side=_side(dataset),
        budget=parse_bytes(given.get("budget", Settings.budget)),
        whole_step=given.get("scope", Settings.scope) == "step",
        odd=preprocess.range[0] < 0,
        known=(int(known["size"][0]), int(known["size"][1])) if known else None,
        mirrored=not all(len(name) == 1 or name.isdecimal() for name in plain),
        processor=processor,
    )


def _side(dataset: Dataset) -> int:
    """Pixels of the training pictures' shorter sides: the median of some."""
    count, sides = len(dataset.train), []
    for index in np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(np.int64).tolist():
        with suppress(BrokenPicture):  # who reads it will be told
            sides.append(min(dataset.train.picture(index).size))
    return round(statistics.median(sides)) if sides else 1
