"""Files that Pillow does not open by itself: the picture, or what it is and what helps."""

from __future__ import annotations

import io
import struct
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from sparsebp.data import BrokenPicture
from sparsebp.data.decode import decode
from sparsebp.data.formats import without_long_text

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
MEGABYTE = 1 << 20


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, behind: bool = False, **options: Any) -> bytes:
    """A PNG with more chunks in front of its pixels, or behind them."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", **options)
    data = file.getvalue()
    at = data.index(b"IEND" if behind else b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


LONG = zlib.compress(b"x" * (2 * MEGABYTE))
TEXTS = {
    "tEXt": [chunk(b"tEXt", b"prompt\0" + b"x" * (2 * MEGABYTE))],
    "zTXt": [chunk(b"zTXt", b"prompt\0\0" + LONG)],
    "iTXt": [chunk(b"iTXt", b"prompt\0\1\0en\0\0" + LONG)],
    "colour profile": [chunk(b"iCCP", b"profile\0\0" + LONG)],
    "many": [chunk(b"tEXt", b"prompt\0" + b"x" * MEGABYTE)] * 66,
    "not packed": [chunk(b"iTXt", b"prompt\0\0\0en\0\0" + b"x" * (2 * MEGABYTE)), chunk(b"zTXt", b"a\0\0" + LONG)],
}


@pytest.mark.parametrize("kind", TEXTS)
def test_long_text_is_passed_over(kind: str, tmp_path: Path) -> None:
    for behind in (False, True):
        file = png(*TEXTS[kind], behind=behind)
        (tmp_path / "a.png").write_bytes(file)
        for source in (file, tmp_path / "a.png"):
            assert (np.asarray(decode(source, "x")) == PIXELS).all()


def test_how_the_camera_was_held_is_still_known() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>'
    for file in (
        png(*TEXTS["iTXt"], exif=exif),
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp), *TEXTS["zTXt"]),
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)), *TEXTS["zTXt"]),
    ):
        assert (np.asarray(decode(file, "x")) == PIXELS[::-1, ::-1]).all()


def test_limits_of_pillow_stay_as_they_are_and_damage_is_damage() -> None:
    decode(png(*TEXTS["zTXt"]), "x")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(BrokenPicture, match="truncated"):
        decode(png(*TEXTS["zTXt"])[:-30], "x")
    assert without_long_text(b"\xff\xd8\xff") is None


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)


@pytest.mark.parametrize(
    ("beginning", "reason"),
    [
        pytest.param(HEIC, "it is HEIC, .*pip install pillow-heif", id="heic"),
        pytest.param(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "it is HEIC", id="mif1"),
        pytest.param(b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", id="jxl"),
        pytest.param(b"\xff\x0a\0\0", "JPEG XL", id="jxl-bare"),
        pytest.param(b"<?xml version='1.0'?><svg/>", "SVG", id="svg"),
        pytest.param(b"II*\0\x08\0\0\0" + bytes(90), "TIFF of a kind that Pillow does not read", id="tiff"),
        pytest.param(b"hello", "not a picture in any format that Pillow reads", id="text"),
    ],
)
def test_what_cannot_be_opened_is_named(beginning: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BrokenPicture, match=reason) as caught:
        decode(beginning, "x")
    assert caught.value.__context__ is None


def test_heic_is_read_where_its_plugin_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin teaches Pillow its format; this one answers with a picture of its own."""

    class Opened(ImageFile.ImageFile):
        format = "HEIC"

        def _open(self) -> None:
            self._size, self._mode = (5, 4), "RGB"
            self.tile = [ImageFile._Tile("raw", (0, 0, 5, 4), len(HEIC), "RGB")]

    def register() -> None:
        Image.register_open("HEIC", Opened, lambda beginning: beginning[4:12] == b"ftypheic")

    for name in ("OPEN", "ID"):
        monkeypatch.setattr(Image, name, getattr(Image, name).copy())
    monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=register))
    assert (np.asarray(decode(HEIC + PIXELS.tobytes(), "x")) == PIXELS).all()
    with pytest.raises(BrokenPicture, match="truncated"):
        decode(HEIC, "x")
