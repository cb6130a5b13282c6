"""Pictures without Pillow: PPM and PGM files, and arrays that numpy saved."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .broken import BrokenPicture
from .resample import Box, resize

NUMPY = b"\x93NUMPY"
_NETPBM = (b"P5", b"P6")
#: Width, height and the greatest value, with comments between them, then one blank.
_HEADER = re.compile(rb"P[56]" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 3 + rb"\s")


class PlainPicture:
    """An RGB picture with those of Pillow's attributes that :class:`.Preprocess` uses.

    Args:
        pixels: uint8 [H, W, 3], or [H, W] for grey.
    """

    mode = "RGB"

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self.pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
        self.height, self.width = self.pixels.shape[:2]
        self.size = self.width, self.height

    def resize(self, size: tuple[int, int], kind: str, box: Box) -> PlainPicture:
        return PlainPicture(resize(self.pixels, size, kind, box))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.uint8]:
        return np.array(self.pixels) if copy else self.pixels


def is_array(beginning: bytes) -> bool:
    """Whether a file that begins so is one that ``numpy.save`` wrote."""
    return beginning.startswith(NUMPY)


def decode(file: Path | bytes, name: str) -> PlainPicture:
    """The picture in ``file``, a path or its bytes: PPM, PGM or an array.

    Raises:
        BrokenPicture: it is another file, or damaged.
    """
    try:
        if isinstance(file, Path) and file.exists() and not file.is_file():  # reading a pipe would wait for ever
            raise BrokenPicture(name, "it is a folder" if file.is_dir() else "it is no regular file")
        data = file.read_bytes() if isinstance(file, Path) else file
    except OSError as error:
        raise BrokenPicture(name, f"it cannot be read: {error.strerror}") from None
    if not data:
        raise BrokenPicture(name, "it is empty: zero bytes")
    if is_array(data):
        return PlainPicture(array(data, name))
    if data[:2] not in _NETPBM:
        raise BrokenPicture(name, "it is no PPM, PGM or .npy file; for others install Pillow: pip install pillow")
    return PlainPicture(_netpbm(data, name))


def array(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """The pixels of a file that ``numpy.save`` wrote.

    Raises:
        BrokenPicture: it is damaged, or no picture.
    """
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header may ask for any amount of memory, or raise anything else
        raise BrokenPicture(name, f"it cannot be decoded: {error}") from None
    grey = found.ndim == 2
    if found.dtype != np.uint8 or not (grey or (found.ndim == 3 and found.shape[2] == 3)) or found.size == 0:
        raise BrokenPicture(name, f"expected an array of uint8 [H, W, 3] or [H, W], got {found.dtype} {found.shape}")
    return np.ascontiguousarray(found)


def _netpbm(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    header = _HEADER.match(data)
    if header is None:
        raise BrokenPicture(name, "it is damaged at its beginning")
    width, height, greatest = map(int, header.groups())
    colours = 3 if data[1:2] == b"6" else 1
    if not 0 < greatest < 256:
        raise BrokenPicture(name, f"its greatest value is {greatest}; without Pillow only 1 to 255 are read")
    count = width * height * colours
    if count == 0 or len(data) - header.end() < count:
        raise BrokenPicture(name, f"it is {width} x {height}, but has {len(data) - header.end()} of {count} bytes")
    pixels = np.frombuffer(data, np.uint8, count, header.end()).reshape(height, width, colours)
    if greatest < 255:
        pixels = (np.minimum(pixels, greatest).astype(np.uint16) * 255 // greatest).astype(np.uint8)
    return pixels if colours == 3 else pixels[:, :, 0]
