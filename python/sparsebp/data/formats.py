"""Files that Pillow does not open by itself: what they are, and what helps."""

from __future__ import annotations

import importlib
import struct
import zlib
from contextlib import suppress

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_KEPT_TEXT = 1 << 16
"""Bytes of a PNG's text that may matter: EXIF and XMP say how a camera was held."""
_PNG = b"\x89PNG\r\n\x1a\n"
#: Bytes of a file that tell all of these apart.
ENOUGH = 64


def is_heic(beginning: bytes) -> bool:
    """Whether a file that begins so is HEIC, as phones write it."""
    brands = {beginning[i : i + 4] for i in range(8, min(len(beginning), ENOUGH), 4)}
    return beginning[4:8] == b"ftyp" and not brands.isdisjoint(_HEIC)


def learn_heic() -> bool:
    """Teaches Pillow to open HEIC, if the plugin for that is installed."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def reason(beginning: bytes) -> str:
    """Why Pillow does not open a file that begins so."""
    if is_heic(beginning):
        return "it is HEIC, which Pillow reads with a plugin only: run `pip install pillow-heif`, or save it as JPEG"
    if beginning[4:8] == b"ftyp" and beginning[8:12] in (b"avif", b"avis"):
        return "it is AVIF, which Pillow reads from version 11.3 on; save it as JPEG"
    if beginning[:12] == b"\0\0\0\x0cJXL \r\n\x87\n" or beginning[:2] == b"\xff\x0a":
        return "it is JPEG XL, which Pillow does not read; save it as JPEG or PNG"
    if beginning.lstrip()[:4] in (b"<svg", b"<?xm"):
        return "it is a drawing (SVG), which Pillow does not read; save it as PNG"
    if beginning[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return (
            "it is damaged, or a TIFF of a kind that Pillow does not read; it reads greys and RGB of 8 or 16 bits, and "
            "floats of 32"
        )
    return "not a picture in any format that Pillow reads, or damaged at its beginning"


def without_long_text(file: bytes) -> bytes | None:
    """A PNG without what is not pixels and long: text and a colour profile, of which Pillow reads 1 MB and no more.

    None for other files.
    """
    if not file.startswith(_PNG):
        return None
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(file):
        length, kind = struct.unpack_from(">I4s", file, at)
        end = at + 12 + length
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP") or _is_short(kind, file[at + 8 : end - 4]):
            kept.append(file[at:end])
        at = end
    return b"".join([*kept, file[at:]])


def _is_short(kind: bytes, chunk: bytes) -> bool:
    unpacker = zlib.decompressobj()
    with suppress(zlib.error):  # Pillow says what is wrong
        unpacker.decompress(_packed(kind, chunk), _KEPT_TEXT)
    return len(chunk) <= _KEPT_TEXT and not unpacker.unconsumed_tail


def _packed(kind: bytes, chunk: bytes) -> bytes:
    """The zlib stream in a chunk of text."""
    rest = chunk.partition(b"\0")[2]  # behind the keyword
    if kind == b"iTXt":  # whether it is packed, how, the language and the keyword in it
        return rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""
    return b"" if kind == b"tEXt" else rest[1:]
