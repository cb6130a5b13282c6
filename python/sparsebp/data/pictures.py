"""Pictures by Pillow where it is installed, and otherwise without it: PPM, PGM and arrays of numpy."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from . import plain
from .broken import BrokenPicture

if TYPE_CHECKING:
    from PIL import Image

    from .levels import Levels

    #: With Pillow one of its pictures, otherwise one that has as much of it as is needed here.
    Picture = Image.Image


def has_pillow() -> bool:
    """Whether Pillow is installed."""
    return importlib.util.find_spec("PIL") is not None


def from_array(pixels: npt.NDArray[np.uint8]) -> Picture:
    """The picture of uint8 [H, W, 3], or [H, W] for grey."""
    if has_pillow():
        from PIL import Image

        return Image.fromarray(pixels).convert("RGB")
    return cast("Picture", plain.PlainPicture(pixels))


def decode(file: Path | bytes, name: str, levels: Levels | None = None) -> Picture:
    """The picture in ``file``, a path or its bytes, upright and in RGB; ``name`` is what messages call it.

    Raises:
        BrokenPicture: it cannot be read.
    """
    if not has_pillow():
        return cast("Picture", plain.decode(file, name))
    if plain.is_array(_beginning(file)):
        return from_array(plain.array(file.read_bytes() if isinstance(file, Path) else file, name))
    from .decode import decode as by_pillow

    return by_pillow(file, name, levels)


def resize(image: Picture, size: tuple[int, int], kind: str, box: tuple[float, float, float, float]) -> Picture:
    """The part ``box`` (left, top, right, bottom) of a picture at another size, by Pillow's filter called ``kind``."""
    plainly: object = image
    if isinstance(plainly, plain.PlainPicture):
        return cast("Picture", plainly.resize(size, kind, box))
    from PIL import Image

    return image.resize(size, Image.Resampling[kind.upper()], box=box)


def is_deep(file: Path | bytes) -> bool:
    """Whether a picture has more than 8 bits a sample, which only Pillow reads."""
    if not has_pillow() or plain.is_array(_beginning(file)):
        return False
    from .decode import is_deep as by_pillow

    return by_pillow(file)


def extremes(file: Path | bytes, name: str) -> tuple[float, float] | None:
    """About the least and the greatest value of a picture that is deep and does not state them itself.

    Raises:
        BrokenPicture: it cannot be read.
    """
    from .decode import extremes as by_pillow

    return by_pillow(file, name)


def _beginning(file: Path | bytes) -> bytes:
    if not isinstance(file, Path):
        return file[: len(plain.NUMPY)]
    try:
        if not file.is_file():  # reading a pipe would wait for ever
            return b""
        with file.open("rb") as stream:
            return stream.read(len(plain.NUMPY))
    except OSError:  # who decodes it says why
        return b""


__all__ = ["BrokenPicture", "decode", "extremes", "from_array", "has_pillow", "is_deep", "resize"]
