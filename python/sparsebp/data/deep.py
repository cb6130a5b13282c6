"""Pictures whose samples have more than 8 bits: what their values are, and what their file says of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .levels import Levels

_BITS, _PHOTOMETRIC, _FORMAT = 258, 262, 339
#: Pairs of TIFF tags that give the least and the greatest sample, of any type and of integers.
_EXTREMES = ((340, 341), (280, 281))
_WHITE_IS_ZERO = 0
_TAILS = (0.1, 99.9)
"""Percentiles that stand for the least and the greatest value: a hot pixel should not set the scale."""
_ENOUGH = 1_000_000
"""Samples of a picture that tell its percentiles."""


@dataclass(frozen=True)
class Depth:
    """What can be told of a picture of more than 8 bits before it is decoded.

    Attributes:
        color: Pillow gives the upper 8 bits of each sample only, as it has no mode for more.
        stated: levels that its file gives; None where it says nothing but its type, which may be wider than the data.
        white_is_zero: the smallest value is the brightest, and Pillow leaves that to us.
        unit: Pillow has divided the values in the file by this.
    """

    color: bool
    stated: Levels | None = None
    white_is_zero: bool = False
    unit: float = 1.0

    def values(self, image: Image.Image) -> np.ndarray:
        """float64 [H, W] or [H, W, C], as in the file; of colour pictures without transparency."""
        if self.color:
            return np.asarray(image)[..., :3] * 257.0  # 65535 = 255 * 257
        values = np.asarray(image).astype(np.float64) * self.unit
        return np.where(np.isnan(values), -np.inf, values)  # a pixel without a value is black

    def eight_bits(self, image: Image.Image, levels: Levels | None) -> Image.Image:
        """The picture with 8 bits a sample, as its file says and where it says nothing by ``levels``."""
        scale = levels if levels is not None and levels.chosen else self.stated or levels
        if scale is None:
            scale = Levels(0, 65535) if self.color else _usual(image)
        if self.color and (scale.low, scale.high) == (0, 65535):
            return image
        grey = scale.grey(self.values(image))
        if self.white_is_zero:
            grey = 255 - grey
        if not self.color:
            return Image.fromarray(grey)
        colored = Image.fromarray(grey)
        if image.mode == "RGBA":
            colored.putalpha(image.getchannel("A"))
        return colored

    def extremes(self, image: Image.Image) -> tuple[float, float] | None:
        """About the least and the greatest value, if the file does not state them."""
        if self.stated is not None:
            return None
        values = self.values(image).ravel()
        values = values[:: max(1, values.size // _ENOUGH)]
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, _TAILS) if finite.size else (math.nan, math.nan)
        return float(low), float(high)


def depth_of(image: Image.Image) -> Depth | None:
    """Of a picture that is opened but not loaded: loading forgets how it is stored. None with 8 bits or fewer."""
    tile: Any = next(iter(getattr(image, "tile", None) or ()), ("", None, 0, None))
    arguments: Any = tile[3] or ("",)
    layout = arguments if isinstance(arguments, str) else arguments[0]
    if not (image.mode == "F" or image.mode.startswith("I")):
        color = isinstance(layout, str) and ";16" in layout and image.mode in ("RGB", "RGBA")
        return Depth(color=True) if color else None
    tags: Any = getattr(image, "tag_v2", None)  # as TIFFs have them, by which they are known without their plugin
    if tags is not None:
        return Depth(False, _stated(tags), tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
    if image.format == "PPM" and tile[0].startswith("ppm"):
        greatest = int(arguments[1])
        return Depth(False, Levels(0, greatest), unit=greatest / 65535)
    return Depth(False)


def _stated(tags: Any) -> Levels | None:
    """What a TIFF says of its values beyond their type."""
    bits, floats = int(_first(tags.get(_BITS), 1)), int(_first(tags.get(_FORMAT), 1)) == 3
    for least, greatest in _EXTREMES:
        low, high = _first(tags.get(least), 0), _first(tags.get(greatest), math.nan)
        only_its_type = not floats and high in (2**bits - 1, 2 ** (bits - 1) - 1)
        if math.isfinite(low) and math.isfinite(high) and low < high and not only_its_type:
            return Levels(low, high)
    return Levels(0, 2**bits - 1) if not floats and 8 < bits < 16 else None


def _first(values: Any, otherwise: float) -> float:
    """The first of a tag's values, which may be missing or nonsense."""
    value = values[0] if isinstance(values, tuple) and values else values
    return float(value) if isinstance(value, (int, float)) else otherwise


def _usual(image: Image.Image) -> Levels:
    """Levels of a picture by itself, by its type: floats from 0 to 1 or to 255, integers to 255 or to 65535."""
    values = np.asarray(image)
    if image.mode == "F":
        known = values[~np.isnan(values)]
        unit = known.size == 0 or (known.min() >= 0 and known.max() <= 1)
        return Levels(0, 1 if unit else 255)
    # Pillow opens some 16-bit files, and some of 8, as 32-bit "I".
    return Levels(0, 255 if image.mode == "I" and values.max() <= 255 else 65535)
