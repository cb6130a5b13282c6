"""Classes of different sizes: pictures of the small ones come more often, or count for more."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Integers = npt.NDArray[np.int64]

BALANCES = ("none", "loss", "sampling")
"""Nothing; a weight for each class in the loss; pictures of small classes several times an epoch."""

MOST_TIMES = 16
"""How often an epoch shows a picture at most: more of the same teaches little, and the epoch should end."""

_AGAIN = 3  # keeps the numbers of a draw apart from those of an epoch's order


def copies(labels: Integers, seed: int, epoch: int) -> Integers:
    """Places of an epoch in which all classes are as frequent as the largest, as far as :data:`MOST_TIMES` lets them.

    Place ``p`` shows picture ``p % len(labels)``, so that each of its appearances can be changed at random in a way of
    its own. Every picture appears; which ones appear once more than others is a function of seed and epoch.

    Args:
        labels: of the pictures.
        seed, epoch: as of an epoch's order.
    """
    count = len(labels)
    sizes = np.bincount(labels)
    generator = np.random.default_rng((seed, epoch, _AGAIN))
    parts = []
    for label in np.flatnonzero(sizes):
        own = np.flatnonzero(labels == label)
        whole, rest = divmod(min(int(sizes.max()), MOST_TIMES * len(own)), len(own))
        parts += [own + time * count for time in range(whole)]
        parts.append(generator.permutation(own)[:rest] + whole * count)
    return np.concatenate(parts).astype(np.int64)


def class_weights(labels: Integers, classes: int) -> torch.Tensor:
    """What a picture of each class counts for, float64 [classes]: all classes together the same, on average 1."""
    sizes = torch.from_numpy(np.bincount(labels, minlength=classes)).double()
    present = int((sizes > 0).sum())
    return torch.where(sizes > 0, len(labels) / (present * sizes.clamp(min=1)), torch.ones_like(sizes))
