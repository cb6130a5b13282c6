"""The augmentation ``slide``: a picture moves behind the frozen layers, which therefore need not run again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from ..data.augment import moved

NAME = "slide"

_OWN = 1  # keeps its random numbers apart from those of the other augmentations


def _reach(side: int) -> int:
    return round(side / 8)


def check_slides(shape: tuple[int, int, int]) -> None:
    """Raises ValueError where features [C, H, W] are too few to move."""
    if not any(map(_reach, shape[1:])):
        raise ValueError(
            f"augment: slide: an eighth of {shape[1]}x{shape[2]}, which the frozen layers leave of a picture, is no "
            "whole step; take a larger input_size, a larger budget, or another augmentation"
        )


def slid(features: torch.Tensor, seed: int, epoch: int, indices: Iterable[int]) -> torch.Tensor:
    """Each picture's features moved by up to 1/8 of either side, in whole steps; what appears is reflected.

    Args:
        features: [n, H, W, C].
        seed, epoch, indices: the move is a function of seed, epoch and the picture's index alone.

    Returns:
        As ``features``, in memory of its own.
    """
    out = torch.empty_like(features)
    for i, index in enumerate(indices):
        generator = np.random.default_rng((seed, epoch, int(index), _OWN))
        rows, columns = (
            torch.from_numpy(moved(side, _reach(side), generator)).to(features.device) for side in features.shape[1:3]
        )
        out[i] = features[i].index_select(0, rows).index_select(1, columns)
    return out
