"""Resizing as Pillow does it, for machines without Pillow: the same filters, the same rounding, in numpy.

Rows first, then columns, as Pillow did until version 12; from 13 on it begins with whichever costs less, and then its
result may differ by what rounding in between makes of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

_BITS = 22
"""Behind the point, of the weights: Pillow's 32 less 8 of a sample and 2 of what cubic filters overshoot."""


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def _hamming(x: float) -> float:
    x = abs(x)
    if x == 0:
        return 1.0
    return math.sin(math.pi * x) / (math.pi * x) * (0.54 + 0.46 * math.cos(math.pi * x)) if x < 1 else 0.0


def _cubic(x: float) -> float:
    x, a = abs(x), -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0


#: Each filter with how far it reaches, in pixels of the smaller picture.
_FILTERS: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_triangle, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}


def resize(image: Pixels, size: tuple[int, int], kind: str, box: Box) -> Pixels:
    """A part of a picture at another size.

    Args:
        image: [H, W, C].
        size: width and height of the result.
        kind: nearest, box, bilinear, hamming, bicubic or lanczos.
        box: left, top, right, bottom of the part, in pixels of ``image``.
    """
    (width, height), (left, top, right, bottom) = size, box
    if kind == "nearest":
        rows, columns = _nearest(top, bottom, height), _nearest(left, right, width)
        return image[rows[:, None], columns]
    if width != image.shape[1] or (left, right) != (0, width):
        image = _along_rows(image, left, right, width, kind)
    if height != image.shape[0] or (top, bottom) != (0, height):
        image = _along_rows(image.swapaxes(0, 1), top, bottom, height, kind).swapaxes(0, 1)
    return np.ascontiguousarray(image)


def _nearest(first: float, last: float, count: int) -> npt.NDArray[np.int64]:
    return (first + (np.arange(count) + 0.5) * ((last - first) / count)).astype(np.int64)


def _along_rows(image: Pixels, first: float, last: float, count: int, kind: str) -> Pixels:
    """Each row of [H, W, C] as ``count`` pixels, of which each is a weighted sum of some neighbouring ones."""
    begins, weights = _weights(image.shape[1], first, last, count, kind)
    sums = np.full((image.shape[0], count, image.shape[2]), 1 << (_BITS - 1), np.int32)
    for tap in range(weights.shape[1]):
        source = np.minimum(begins + tap, image.shape[1] - 1)  # behind the last one weights are zero
        sums += image[:, source] * weights[:, tap, None]
    return (sums >> _BITS).clip(0, 255).astype(np.uint8)


def _weights(
    inside: int, first: float, last: float, count: int, kind: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """For each of ``count`` pixels the first one of ``inside`` that it sums up, and the weights from there on."""
    function, reach = _FILTERS[kind]
    begin_at = np.float32(first)  # in single precision, as Pillow takes them
    first, scale = float(begin_at), float(np.float32(last) - begin_at) / count
    stretch = max(scale, 1.0)
    support = reach * stretch
    begins = np.zeros(count, np.int64)
    weights = np.zeros((count, math.ceil(support) * 2 + 1), np.int32)
    for i in range(count):
        centre = first + (i + 0.5) * scale
        begin, end = max(0, int(centre - support + 0.5)), min(inside, int(centre + support + 0.5))
        row = np.array([function((x - centre + 0.5) / stretch) for x in range(begin, end)])
        row *= (1 << _BITS) / row.sum()
        begins[i] = begin
        weights[i, : end - begin] = np.trunc(row + np.copysign(0.5, row))
    return begins, weights
