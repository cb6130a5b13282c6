"""Arrays as native code takes them: contiguous, of the right shape and type, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .facts import Sizes


def pixels(given: npt.ArrayLike, sizes: Sizes, takes_bytes: bool) -> npt.NDArray[Any]:
    """Images [N, H, W, C], float32 or, if the plan knows what bytes become, uint8."""
    images = np.ascontiguousarray(given)
    shape = (sizes.height, sizes.width, sizes.channels)
    if images.ndim != 4 or images.shape[1:] != shape:
        raise ValueError(f"pixels: expected [N, {', '.join(map(str, shape))}], got {list(images.shape)}")
    if images.dtype not in (np.uint8, np.float32):
        raise TypeError(f"pixels: expected uint8 or float32, got {images.dtype}")
    if images.dtype == np.uint8 and not takes_bytes:
        raise TypeError("pixels: this plan was exported without preprocessing; expected float32, got uint8")
    return images


def features(given: npt.ArrayLike, sizes: Sizes) -> npt.NDArray[np.float32]:
    """What the frozen prefix makes of images, [N, features]."""
    made = np.ascontiguousarray(given)
    if made.ndim != 2 or made.shape[1] != sizes.features:
        raise ValueError(
            f"features: expected [N, {sizes.features}] as Session.features returns them, got {list(made.shape)}"
        )
    if made.dtype != np.float32:
        raise TypeError(f"features: expected float32, got {made.dtype}")
    return made


def labels(given: npt.ArrayLike, images: int, sizes: Sizes) -> npt.NDArray[np.int32]:
    """The class of each image, [N]."""
    found = np.asarray(given)
    if found.ndim != 1 or len(found) != images:
        raise ValueError(f"labels: expected one for each of {images} images, got {list(found.shape)}")
    if not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f"labels: expected whole numbers, got {found.dtype}")
    if len(found) and not 0 <= found.min() <= found.max() < sizes.classes:
        raise ValueError(f"labels: expected 0 to {sizes.classes - 1}, got {found.min()} to {found.max()}")
    return np.ascontiguousarray(found, np.int32)


def flat(given: npt.ArrayLike, count: int) -> npt.NDArray[np.float32]:
    """What a session trains, one number behind the other."""
    values = np.ascontiguousarray(given)
    if values.dtype != np.float32:
        raise TypeError(f"values: expected float32, got {values.dtype}")
    if values.shape != (count,):
        raise ValueError(f"values: expected [{count}] as Session.get_trainable returns them, got {list(values.shape)}")
    return values


class _Memory:
    """Bytes that something else owns, as numpy's array interface describes them."""

    def __init__(self, address: int, shape: tuple[int, ...], owner: object) -> None:
        self.__array_interface__ = {"version": 3, "data": (address, False), "shape": shape, "typestr": "|u1"}
        self._owner = owner


def bytes_at(address: int, shape: tuple[int, ...], owner: object) -> npt.NDArray[np.uint8]:
    """The bytes at an address as an array, which keeps ``owner`` alive."""
    return np.asarray(_Memory(address, shape, owner))
