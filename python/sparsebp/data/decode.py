"""A file, whatever it holds, as an RGB picture."""

from __future__ import annotations

import io
import re
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

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


class BrokenPicture(ValueError):  # noqa: N818 - it names what there is, not what went wrong in the program
    """A picture that cannot be read.

    Attributes:
        name: the file, or its place in an archive such as ``cifar10_train.npz[17]``.
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)  # what pickle hands to the copy in another process
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def decode(file: Path | bytes, name: str) -> Image.Image:
    """The picture in ``file`` (a path, or its bytes), upright and in RGB; the first one of an animation.

    Args:
        file: a path, or the bytes of the file.
        name: what messages call it.

    Raises:
        BrokenPicture: it cannot be read.
    """
    try:
        # Pillow warns of damaged metadata, of large pictures, of its own future: nothing that a user could act on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(file, name)
    except BrokenPicture:
        raise
    except Exception as error:  # a damaged file may raise anything: struct.error, KeyError, SyntaxError, ...
        reason = _reason(error)
    raise BrokenPicture(name, reason)


def _read(file: Path | bytes, name: str) -> Image.Image:
    if isinstance(file, Path):
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise BrokenPicture(name, "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
    if (status.st_size if isinstance(file, Path) else len(file)) == 0:
        raise BrokenPicture(name, "it is empty: zero bytes")
    with Image.open(file if isinstance(file, Path) else io.BytesIO(file)) as image:
        image.load()
        if not (image.width and image.height):
            raise BrokenPicture(name, f"it has no pixels: {image.width} x {image.height}")
        # After load: a PNG may name its orientation behind the pixels, and Pillow turns a TIFF itself.
        try:
            turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception:  # the pixels are fine without damaged metadata
            turn = None
        upright = to_rgb(image)
    return upright if turn is None else upright.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """``image``, of any of Pillow's modes, in RGB: transparency becomes white, more than 8 bits become 8."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.has_transparency_data:
        # Pillow undoes premultiplied alpha only between the modes of the same colours.
        straight = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, straight.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Grey of 16 or 32 bits, or of floats, in 0..255."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
        if values.min() >= 0 and values.max() <= 1:
            values *= 255
    elif image.mode != "I" or values.max() > 255:  # Pillow opens some 16-bit files, and some of 8, as 32-bit "I"
        values /= 257  # 65535 = 255 * 257
    grey: np.ndarray = np.rint(values.clip(0, 255)).astype(np.uint8)
    return grey


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more pixels than Pillow's limit of {2 * (Image.MAX_IMAGE_PIXELS or 0)}"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in any format that Pillow reads, or damaged at its beginning"
    if isinstance(error, FileNotFoundError):
        return "there is no such file (any more)"
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
