"""The pictures that an experiment takes of a data set."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sparsebp
from experiment import HELD_OUT, TRAIN, Experiment
from sparsebp.data import Dataset, Subset


def open_pictures(path: Path, experiment: Experiment, seed: int) -> Dataset:
    """The pictures of a data set that an experiment takes.

    Raises:
        ValueError: it has too few.
    """
    whole = sparsebp.data.open_dataset(path)
    if experiment.take:
        train = _taken(whole.train.labels, experiment.take, seed)
        test = range(experiment.judges or len(whole.test))
        return Dataset(Subset(whole.train, train), Subset(whole.test, test), whole.classes, whole.kind)
    if not experiment.sweep:
        return whole
    count = len(whole.train)
    if count < TRAIN + HELD_OUT:
        raise ValueError(f"--data: a sweep takes {TRAIN + HELD_OUT:,} training pictures, {path} has {count:,}")
    train, held_out = range(TRAIN), range(count - HELD_OUT, count)
    return Dataset(Subset(whole.train, train), Subset(whole.train, held_out), whole.classes, whole.kind)


def _taken(labels: npt.NDArray[np.int64], take: int | tuple[int | None, ...], seed: int) -> list[int]:
    """The numbers of the training pictures that an experiment takes."""
    if isinstance(take, int):
        return list(range(seed * take, (seed + 1) * take))
    rows = [np.flatnonzero(labels == label).tolist() for label in range(len(take))]
    chance = random.Random(seed)
    return [
        i for own, count in zip(rows, take, strict=True) for i in (own if count is None else chance.sample(own, count))
    ]
