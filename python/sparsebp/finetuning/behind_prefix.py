"""Augmentations of what the frozen layers make of a picture: these layers need not run again for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from .erase import NAME as ERASE
from .erase import erased
from .slide import NAME as SLIDE
from .slide import check_slides, slid

_CHANGES: dict[str, Callable[[torch.Tensor, int, int, Iterable[int]], torch.Tensor]] = {SLIDE: slid, ERASE: erased}


def behind_prefix(augment: Iterable[str]) -> tuple[str, ...]:
    """Those of the augmentations that change what the frozen layers make of a picture, in the order they apply."""
    wanted = set(augment)
    return tuple(name for name in _CHANGES if name in wanted)


def before_prefix(augment: Iterable[str]) -> tuple[str, ...]:
    """Those of the augmentations that change the picture itself."""
    return tuple(name for name in augment if name not in _CHANGES)


def forms(augment: Iterable[str]) -> int | None:
    """How many different inputs the frozen layers see of one picture: 1, or 2 with its mirror image.

    None if it is never the same twice.
    """
    return {(): 1, ("flip",): 2}.get(before_prefix(augment))


def changed(
    features: torch.Tensor, names: Sequence[str], seed: int, epoch: int, indices: Sequence[int]
) -> torch.Tensor:
    """Features as these augmentations change them.

    Args:
        features: [n, H, W, C].
        names: as :func:`behind_prefix` gives them.
        seed, epoch, indices: the change is a function of seed, epoch and the picture's index alone.

    Returns:
        As ``features``; the same tensor where nothing changes.
    """
    for name in names:
        features = _CHANGES[name](features, seed, epoch, indices)
    return features


def check_behind_prefix(names: Sequence[str], shape: tuple[int, int, int]) -> None:
    """Raises ValueError where features [C, H, W] are too few for one of these augmentations."""
    if SLIDE in names:
        check_slides(shape)
