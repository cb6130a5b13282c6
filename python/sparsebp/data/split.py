"""Which pictures are held out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def stratified(
    labels: npt.NDArray[np.int64], share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices to train on and indices held out: ``share`` of every class, to the nearest picture.

    A class of two or more has at least one picture on either side; the only picture of a class is trained on.
    """
    held: list[npt.NDArray[np.int64]] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            count = min(max(round(len(members) * share), 1), len(members) - 1)
            held.append(np.random.default_rng((seed, int(label))).choice(members, count, replace=False))
    test = np.sort(np.concatenate(held)) if held else np.empty(0, np.int64)
    return np.setdiff1d(np.arange(len(labels)), test), test
