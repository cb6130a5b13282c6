"""Classes of different sizes: what is rare among the training pictures need not be rare afterwards."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Integers = npt.NDArray[np.int64]

BALANCES = ("none", "loss", "sampling")
"""Nothing; a loss in which small classes win by a margin; pictures of small classes several times an epoch."""

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


def class_offsets(labels: Integers, classes: int) -> torch.Tensor:
    """What is added to each class's logit while the network learns: the logarithm of its share, float64 [classes].

    The network then need not learn how frequent a class is, and a small one has to win by a margin. Without them it
    judges as if all were equally frequent (logit adjustment, Menon et al., ICLR 2021, arXiv 2007.07314).
    """
    sizes = torch.from_numpy(np.bincount(labels, minlength=classes)).double()
    return (sizes.clamp(min=1) / len(labels)).log()
