"""A file, whatever it holds, as an RGB picture."""

from __future__ import annotations

import io
import re
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image, UnidentifiedImageError

from . import formats
from .broken import BrokenPicture
from .deep import Depth, depth_of
from .levels import Levels

T = TypeVar("T")

#: What undoes each EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: How JPEG, GIF, BMP and WebP begin: what is not opened need not be asked.
_OF_8_BITS = (b"\xff\xd8", b"GIF8", b"BM", b"RIFF")


def decode(file: Path | bytes, name: str, levels: Levels | None = None) -> Image.Image:
    """The picture in ``file`` (a path, or its bytes), upright and in RGB; the first one of an animation.

    Args:
        file: a path, or the bytes of the file.
        name: what messages call it.
        levels: black and white of samples with more than 8 bits, where the file does not say; None goes by their type.

    Raises:
        BrokenPicture: it cannot be read.
    """
    return _read(file, name, lambda image, depth: _upright(image, depth, levels))


def extremes(file: Path | bytes, name: str) -> tuple[float, float] | None:
    """About the least and the greatest value of a picture whose samples have more than 8 bits.

    None with 8 bits, and where the file says itself what is black and white.

    Raises:
        BrokenPicture: it cannot be read.
    """
    return _read(file, name, lambda image, depth: depth.extremes(image) if depth is not None else None)


def is_deep(file: Path | bytes) -> bool:
    """Whether a picture has more than 8 bits a sample, as far as that can be told without decoding it."""
    if isinstance(file, Path) and not file.is_file():  # reading a pipe would wait for ever
        return False
    try:
        beginning = _beginning(file)
        if beginning.startswith(_OF_8_BITS) or (beginning.startswith(b"\x89PNG") and beginning[24] != 16):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(_stream(file)) as image:
                return depth_of(image) is not None
    except Exception:  # who reads it will be told why it cannot be
        return False


def _read(file: Path | bytes, name: str, use: Callable[[Image.Image, Depth | None], T]) -> T:
    """What ``use`` makes of the decoded picture and its depth."""
    try:
        # Pillow warns of damaged metadata, of large pictures, of its own future: nothing that a user could act on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_file(file, name)
            try:
                return _load(file, name, use)
            except ValueError as error:
                shorter = _without_long_text(file) if "MAX_TEXT" in str(error) else None
                if shorter is None:
                    raise
            return _load(shorter, name, use)
    except BrokenPicture:
        raise
    except Exception as error:  # a damaged file may raise anything: struct.error, KeyError, SyntaxError, ...
        reason = _reason(error)
    raise BrokenPicture(name, reason)


def _check_file(file: Path | bytes, name: str) -> None:
    if isinstance(file, Path):
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise BrokenPicture(name, "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
    if (status.st_size if isinstance(file, Path) else len(file)) == 0:
        raise BrokenPicture(name, "it is empty: zero bytes")


def _load(file: Path | bytes, name: str, use: Callable[[Image.Image, Depth | None], T]) -> T:
    with _open(file, name) as image:
        depth = depth_of(image)
        image.load()
        if not (image.width and image.height):
            raise BrokenPicture(name, f"it has no pixels: {image.width} x {image.height}")
        return use(image, depth)


def _open(file: Path | bytes, name: str) -> Image.Image:
    """The opened picture; a format that Pillow lacks is looked for in its plugins."""
    try:
        return Image.open(_stream(file))
    except UnidentifiedImageError:
        beginning = _beginning(file)
    if formats.is_heic(beginning) and formats.learn_heic():
        return Image.open(_stream(file))
    raise BrokenPicture(name, formats.reason(beginning))


def _stream(file: Path | bytes) -> Path | io.BytesIO:
    return file if isinstance(file, Path) else io.BytesIO(file)


def _beginning(file: Path | bytes) -> bytes:
    if not isinstance(file, Path):
        return file[: formats.ENOUGH]
    with file.open("rb") as stream:
        return stream.read(formats.ENOUGH)


def _without_long_text(file: Path | bytes) -> bytes | None:
    return formats.without_long_text(file.read_bytes() if isinstance(file, Path) else file)


def _upright(image: Image.Image, depth: Depth | None, levels: Levels | None) -> Image.Image:
    # After load: a PNG may name its orientation behind the pixels, and Pillow turns a TIFF itself.
    try:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are fine without damaged metadata
        turn = None
    shown = to_rgb(image, depth, levels)
    return shown if turn is None else shown.transpose(turn)


def to_rgb(image: Image.Image, depth: Depth | None = None, levels: Levels | None = None) -> Image.Image:
    """``image``, of any of Pillow's modes, in RGB: transparency becomes white, more than 8 bits become 8."""
    depth = depth or depth_of(image)
    if depth is not None:
        image = depth.eight_bits(image, levels)
    if image.has_transparency_data:
        # Pillow undoes premultiplied alpha only between the modes of the same colours.
        straight = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, straight.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more pixels than Pillow's limit of {2 * (Image.MAX_IMAGE_PIXELS or 0)}"
    if isinstance(error, UnidentifiedImageError):
        return "it is damaged at its beginning"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be read: {error.strerror}"
    text = " ".join(re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "the file", str(error)).split())[:200]
    known = isinstance(error, (OSError, SyntaxError, ValueError))
    return (
        f"it cannot be decoded: {text}" if text and known else f"it cannot be decoded ({type(error).__name__} {text})"
    )
