"""From a picture of any size to network input."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import pictures
from .levels import Levels

if TYPE_CHECKING:
    import torch

    from .pictures import Picture

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

RESIZES = ("crop", "stretch", "pad")
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


class Placement(NamedTuple):
    """Which part of a picture goes where on the canvas."""

    box: tuple[float, float, float, float]  # left, top, right, bottom, in the picture's pixels
    size: tuple[int, int]  # width and height it is resized to
    corner: tuple[int, int]  # left, top on the canvas


@dataclass(frozen=True)
class Preprocess:
    """Resize, then pixels 0..255 mapped linearly to ``range``, then ``(v - mean) / std``.

    Args:
        size: height and width of the input.
        range: what pixel values 0 and 255 become.
        mean, std: per channel, in units of ``range``.
        resize: ``"crop"`` keeps the aspect ratio, takes the shorter side to size and the centre of the longer;
            ``"stretch"`` takes both sides to size; ``"pad"`` keeps the aspect ratio, takes the longer side to
            size and centres the picture on the mean colour, which the network sees as zeros.
        filter: Pillow's name: nearest, bilinear, bicubic, lanczos, box or hamming.
        levels: black and white of pictures with more than 8 bits a sample, as (low, high): they become pixel values 0
            and 255. None takes them as their source gives them.
    """

    size: tuple[int, int]
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    resize: str = "crop"
    filter: str = "bilinear"
    levels: Levels | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # frozen
        put(self, "size", _sizes(self.size))
        put(self, "levels", Levels.parse(self.levels))
        for name, count in (("range", 2), ("mean", 3), ("std", 3)):
            put(self, name, _floats(name, getattr(self, name), count))
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range: expected (low, high) with low < high, got {self.range}")
        if not min(self.std) > 0:
            raise ValueError(f"std: expected positive numbers, got {self.std}")
        for name, known in (("resize", RESIZES), ("filter", FILTERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}; got {getattr(self, name)!r}")

    def fit(self, image: Picture) -> np.ndarray:
        """An RGB picture as uint8 [H, W, 3]."""
        place = self.placement(image)
        return self.canvas(self.resized(image, place), place)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] as float32 [N, 3, H, W] in channels_last memory."""
        import torch

        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images: expected uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}")
        n, height, width, _ = images.shape
        scale, offset = (torch.tensor(t, device=images.device, dtype=torch.float32) for t in self.linear())
        # Whole rows at a time: over a last dimension of three torch would start its loop anew for every pixel.
        rows = images.reshape(n * height, width * 3).to(torch.float32)
        torch.addcmul(offset.repeat(width), rows, scale.repeat(width), out=rows)
        return rows.view(n, height, width, 3).permute(0, 3, 1, 2)

    def linear(self) -> tuple[list[float], list[float]]:
        """For each channel by what a pixel value 0..255 is multiplied, and what is added then."""
        low, high = self.range
        scale = [(high - low) / 255 / std for std in self.std]
        return scale, [(low - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]

    def placement(self, image: Picture) -> Placement:
        """What ``fit`` takes of a picture, and where it puts it."""
        if image.mode != "RGB":
            raise ValueError(f"image: expected mode RGB, got {image.mode}; convert it first: image.convert('RGB')")
        (height, width), (w, h) = self.size, image.size
        if self.resize == "pad":
            scale = min(width / w, height / h)
            inner = (min(width, max(1, round(w * scale))), min(height, max(1, round(h * scale))))
            return Placement((0, 0, w, h), inner, ((width - inner[0]) // 2, (height - inner[1]) // 2))
        box: tuple[float, float, float, float] = (0, 0, w, h)
        if self.resize == "crop":
            scale = max(width / w, height / h)
            cut_w, cut_h = min(w, width / scale), min(h, height / scale)
            left, top = (w - cut_w) / 2, (h - cut_h) / 2
            box = (left, top, min(w, left + cut_w), min(h, top + cut_h))
        return Placement(box, (width, height), (0, 0))

    def resized(self, image: Picture, place: Placement) -> Picture:
        """The placed part of a picture at its new size."""
        return pictures.resize(image, place.size, self.filter, place.box)

    def canvas(self, image: Picture, place: Placement) -> np.ndarray:
        """A resized picture at its place, uint8 [H, W, 3]."""
        if image.size == self.size[::-1]:
            return np.array(image)
        low, high = self.range
        grey = [round(min(255.0, max(0.0, (mean - low) / (high - low) * 255))) for mean in self.mean]
        whole = np.empty((*self.size, 3), np.uint8)
        whole[:] = grey
        left, top = place.corner
        whole[top : top + image.height, left : left + image.width] = np.asarray(image)
        return whole

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; ``from_dict`` reads it."""
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        del found["levels"]  # most runs have none, and those from before levels were known say nothing of them
        return found if self.levels is None else {**found, "levels": self.levels.to_list()}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Preprocess:
        """What ``to_dict`` wrote.

        Raises:
            TypeError, ValueError: it says which entry is missing, unknown or makes no sense.
        """
        if not isinstance(d, Mapping):
            raise TypeError(f"d: expected a dict as to_dict makes it, got {type(d).__name__}")
        known = [field.name for field in fields(cls)]
        unknown = [str(key) for key in d if key not in known]
        if unknown:
            raise ValueError(f"d: expected the keys {', '.join(known)}; got {', '.join(unknown)} as well")
        if "size" not in d:
            raise ValueError("d: expected at least the key size")
        return cls(**d)


def _sizes(size: Any) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        raise ValueError(f"size: expected (height, width) as two ints, got {size!r}") from None
    if not (height > 0 and width > 0):
        raise ValueError(f"size: expected positive height and width, got {(height, width)}")
    return height, width


def _floats(name: str, values: Any, count: int) -> tuple[float, ...]:
    try:
        numbers = () if isinstance(values, str) else tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{name}: expected {count} finite numbers, got {values!r}")
    return numbers
