"""Random changes that leave a picture's class as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .preprocess import Placement, Preprocess

#: What there is, in the order in which it is applied.
AUGMENTATIONS: dict[str, str] = {
    "crop": "a random part, 60-100 % of the area, aspect ratio changed by 3/4 to 4/3, scaled back up",
    "color": "brightness, contrast and saturation changed by up to 25 %",
    "shift": "moved by up to 1/8 of each side, what appears is reflected",
    "slide": "as shift, but what the frozen layers make of the picture moves, by whole pixels of its own",
    "erase": "a rectangle of 2/5 of either side of what the frozen layers make of every second picture is blanked",
    "flip": "left and right exchanged in every second picture",
}

# How much red, green and blue add to brightness (ITU-R BT.601, as in JPEG and in Pillow's "L").
_LUMA = np.array([0.299, 0.587, 0.114])


def parse_augment(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """``"flip,crop"`` or ``["flip", "crop"]`` as names in the order of AUGMENTATIONS; ``""``, ``"none"``, None as ().

    Raises:
        TypeError: not text.
        ValueError: there is no such augmentation; the message lists what there is.
    """
    parts = [] if text is None else text.split(",") if isinstance(text, str) else list(text)
    if not all(isinstance(part, str) for part in parts):
        raise TypeError(f"augment: expected names, got {text!r}")
    names = [part.strip().lower() for part in parts]
    if names in ([], [""], ["none"]):
        return ()
    for name in names:
        if name not in AUGMENTATIONS:
            there = "; ".join(f"{known} ({what})" for known, what in AUGMENTATIONS.items())
            raise ValueError(
                f"augment: expected none, or names with commas between them, got {name!r}; there is {there}"
            )
    return tuple(name for name in AUGMENTATIONS if name in names)


def augment(
    image: Image.Image, names: Sequence[str], preprocess: Preprocess, generator: np.random.Generator
) -> np.ndarray:
    """A changed picture as ``preprocess.fit`` would place it: uint8 [H, W, 3].

    ``slide`` and ``erase`` are left to whoever runs the frozen layers. All that is random comes from
    ``generator``; with ``default_rng((seed, epoch, index))`` it is a function of the three alone.
    """
    place = preprocess.placement(image)
    if "crop" in names:
        place = place._replace(box=_part(image, place, generator))
    small = preprocess.resized(image, place)
    if "color" in names:
        small = _recolored(small, generator)
    pixels = preprocess.canvas(small, place)
    if "shift" in names:
        rows, columns = (moved(side, side // 8, generator) for side in pixels.shape[:2])
        pixels = pixels.take(rows, axis=0).take(columns, axis=1)
    if "flip" in names and _flips(generator):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def flipped(seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Which pictures ``"flip"`` exchanges where it is the only augmentation: bool, as many as indices."""
    return np.array([_flips(np.random.default_rng((seed, epoch, int(i)))) for i in indices], dtype=bool)


def _flips(generator: np.random.Generator) -> bool:
    return bool(generator.random() < 0.5)


def _part(image: Image.Image, place: Placement, generator: np.random.Generator) -> tuple[float, float, float, float]:
    """A box as large as 60-100 % of the placed one, anywhere in the picture."""
    left, top, right, bottom = place.box
    area = generator.uniform(0.6, 1.0)
    # Neither side may outgrow the placed box: sqrt(area * aspect) <= 1 and sqrt(area / aspect) <= 1.
    reach = math.log(min(4 / 3, 1 / area))
    aspect = math.exp(generator.uniform(-reach, reach))
    width, height = (right - left) * math.sqrt(area * aspect), (bottom - top) * math.sqrt(area / aspect)
    x = generator.random() * max(0.0, image.width - width)
    y = generator.random() * max(0.0, image.height - height)
    return x, y, min(image.width, x + width), min(image.height, y + height)


def _recolored(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Brightness, then contrast around the mean grey, then saturation around each pixel's grey, rounded once.

    With factors b, c, s, luma weights w and mean grey m of the picture, pixel x becomes
    ``c*b * (s*x + (1 - s) * w.x) + (1 - c)*b*m``: one matrix and one offset.
    """
    b, c, s = generator.uniform(0.75, 1.25, 3)
    counts = np.array(image.histogram()).reshape(3, 256)
    means = (counts * np.arange(256)).sum(axis=1) / (image.width * image.height)
    offset = float((1 - c) * b * (means * _LUMA).sum())
    matrix: list[float] = []
    for own in range(3):
        matrix += [float(c * b * (s * (own == other) + (1 - s) * _LUMA[other])) for other in range(3)] + [offset]
    return image.convert("RGB", matrix)


def moved(side: int, reach: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of ``side`` pixels in a row, moved by up to ``reach``; the edge pixel itself is not repeated."""
    inside = np.abs(np.arange(side) + generator.integers(-reach, reach, endpoint=True))
    indices: np.ndarray = np.where(inside >= side, 2 * (side - 1) - inside, inside)
    return indices
