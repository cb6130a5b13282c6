"""The augmentation ``erase``: a part of a picture is blanked behind the frozen layers.

Cutout (DeVries & Taylor, arXiv 1708.04552), of what the frozen layers make of a picture instead of its pixels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

NAME = "erase"

_OWN = 3  # keeps its random numbers apart from those of the other augmentations
_SHARE, _PROBABILITY = 0.4, 0.5


def erased(features: torch.Tensor, seed: int, epoch: int, indices: Iterable[int]) -> torch.Tensor:
    """Every second picture with a rectangle of 2/5 of its height and width set to its mean, channel by channel.

    The middle of the rectangle lies anywhere, so that it may reach over an edge.

    Args:
        features: [n, H, W, C].
        seed, epoch, indices: the rectangle is a function of seed, epoch and the picture's index alone.

    Returns:
        As ``features``, in memory of its own.
    """
    out = features.clone()
    for i, index in enumerate(indices):
        generator = np.random.default_rng((seed, epoch, int(index), _OWN))
        if generator.random() < _PROBABILITY:
            rows, columns = (_range(side, generator) for side in features.shape[1:3])
            out[i, rows, columns] = features[i].mean((0, 1))
    return out


def _range(side: int, generator: np.random.Generator) -> slice:
    length = max(1, round(side * _SHARE))
    start = int(generator.integers(side)) - length // 2
    return slice(max(0, start), start + length)
