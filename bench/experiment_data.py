"""The part of a data set that an experiment takes."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
from experiment import Experiment
from sparsebp.data import Dataset, Subset


def part(whole: Dataset, experiment: Experiment, seed: int) -> Dataset:
    """The pictures of an experiment with this seed."""
    if not experiment.take:
        return whole
    train = Subset(whole.train, _taken(whole.train.labels, experiment.take, seed))
    test = Subset(whole.test, range(experiment.judges or len(whole.test)))
    return Dataset(train, test, whole.classes, whole.kind)


def _taken(labels: npt.NDArray[np.int64], take: int | tuple[int | None, ...], seed: int) -> list[int]:
    if isinstance(take, int):
        return list(range(seed * take, (seed + 1) * take))
    chance = random.Random(seed)
    taken: list[int] = []
    for label, count in enumerate(take):
        own = np.flatnonzero(labels == label).tolist()
        taken += own if count is None else chance.sample(own, count)
    return taken
