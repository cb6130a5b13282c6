"""Any file as an RGB picture or a reason why not."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import encoded, filled, pixel
from PIL import Image
from sparsebp.data import BrokenPicture
from sparsebp.data.decode import decode, to_rgb

# --- modes -----------------------------------------------------------------------------------------------------------


def with_palette(colors: list[int]) -> Image.Image:
    image = filled("P", 1)
    image.putpalette(colors)
    return image


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        pytest.param(filled("1", 1), "PNG", (255, 255, 255), id="1"),
        pytest.param(filled("L", 77), "PNG", (77, 77, 77), id="L"),
        pytest.param(filled("RGB", (1, 2, 3)), "BMP", (1, 2, 3), id="RGB"),
        pytest.param(with_palette([0, 0, 0, 10, 20, 30]), "GIF", (10, 20, 30), id="P"),
        pytest.param(filled("CMYK", (0, 255, 255, 0)), "TIFF", (255, 0, 0), id="CMYK"),
        pytest.param(filled("LAB", (255, 128, 128)), "TIFF", (255, 255, 255), id="LAB"),
        pytest.param(filled("I;16", 257 * 200), "PNG", (200, 200, 200), id="I;16"),
        pytest.param(filled("I;16", 65535), "TIFF", (255, 255, 255), id="I;16-white"),
        pytest.param(filled("I", 257 * 9 + 100), "TIFF", (9, 9, 9), id="I-of-16-bits"),
        pytest.param(filled("I", 200), "TIFF", (200, 200, 200), id="I-of-8-bits"),
        pytest.param(filled("I", 1 << 30), "TIFF", (255, 255, 255), id="I-beyond"),
        pytest.param(filled("I", -5), "TIFF", (0, 0, 0), id="I-negative"),
        pytest.param(filled("F", 0.2), "TIFF", (51, 51, 51), id="F-unit"),
        pytest.param(filled("F", 99.7), "TIFF", (100, 100, 100), id="F-255"),
        pytest.param(filled("F", float("nan")), "TIFF", (0, 0, 0), id="F-nan"),
        pytest.param(filled("F", float("inf")), "TIFF", (255, 255, 255), id="F-inf"),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, kind: str, expected: tuple[int, ...]) -> None:
    assert pixel(encoded(image, kind)) == pytest.approx(expected, abs=1 if image.mode == "LAB" else 0)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("YCbCr", (76, 85, 255), (255, 0, 0)),
        ("HSV", (85, 255, 255), (0, 255, 0)),
        ("LAB", (127, 128, 128), (119, 119, 119)),  # L* = 50 is 18 % of the light, sRGB 119
        ("I;16B", 257 * 7, (7, 7, 7)),
        ("I;16L", 257 * 7, (7, 7, 7)),
        ("RGBX", (1, 2, 3, 4), (1, 2, 3)),
    ],
)
def test_modes_that_files_seldom_have(mode: str, color: Any, expected: tuple[int, ...]) -> None:
    result = to_rgb(filled(mode, color))
    assert result.mode == "RGB"
    np.testing.assert_allclose(np.asarray(result).reshape(-1, 3), np.tile(expected, (20, 1)), atol=2)


def test_floats_that_leave_the_unit_interval_anywhere_are_taken_as_0_to_255() -> None:
    image = Image.fromarray(np.array([[0.0, 0.5, 2.0, 300.0, -1.0]], np.float32))
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == [0, 0, 2, 255, 0]


@given(st.integers(0, 255), st.integers(0, 255))
def test_transparency_shows_white(value: int, alpha: int) -> None:
    expected = value * alpha / 255 + 255 - alpha
    for mode, color in (("LA", (value, alpha)), ("RGBA", (value, value, value, alpha))):
        assert pixel(encoded(filled(mode, color), "PNG")) == pytest.approx([expected] * 3, abs=1)
    light = min(value, alpha)  # premultiplied: no pixel is brighter than its alpha
    for mode, color in (("La", (light, alpha)), ("RGBa", (light, light, light, alpha))):
        got = np.asarray(to_rgb(filled(mode, color)))[0, 0]
        assert got.tolist() == pytest.approx([light + 255 - alpha] * 3, abs=1)


def test_transparent_palettes_and_colors_show_white() -> None:
    two = with_palette([0, 0, 0, 10, 20, 30])
    assert pixel(encoded(two, "PNG", transparency=1)) == (255, 255, 255)
    assert pixel(encoded(two, "PNG", transparency=0)) == (10, 20, 30)
    assert pixel(encoded(two, "PNG", transparency=bytes([0, 255]))) == (10, 20, 30)
    assert pixel(encoded(two, "PNG", transparency=bytes([0, 51]))) == pytest.approx((206, 208, 210), abs=1)
    assert pixel(encoded(two, "GIF", transparency=1)) == (255, 255, 255)
    assert pixel(encoded(filled("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3))) == (255, 255, 255)
    assert pixel(encoded(filled("L", 9), "PNG", transparency=9)) == (255, 255, 255)
    both = filled("PA", (1, 0))
    both.putpalette([0, 0, 0, 10, 20, 30])
    assert np.asarray(to_rgb(both))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_an_animation_gives_its_first_picture(kind: str) -> None:
    frames = [filled("RGB", color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixel(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)) == (255, 0, 0)


# --- orientation -----------------------------------------------------------------------------------------------------

# Where the EXIF standard shows the pixel in row r, column c of the h x w that are stored.
SHOWN: dict[int, Callable[[int, int, int, int], tuple[int, int]]] = {
    1: lambda r, c, h, w: (r, c),
    2: lambda r, c, h, w: (r, w - 1 - c),
    3: lambda r, c, h, w: (h - 1 - r, w - 1 - c),
    4: lambda r, c, h, w: (h - 1 - r, c),
    5: lambda r, c, h, w: (c, r),
    6: lambda r, c, h, w: (c, h - 1 - r),
    7: lambda r, c, h, w: (w - 1 - c, h - 1 - r),
    8: lambda r, c, h, w: (w - 1 - c, r),
    9: lambda r, c, h, w: (r, c),  # no such orientation
}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_undone(kind: str, orientation: int) -> None:
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 13
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    shown = np.asarray(decode(encoded(Image.fromarray(stored), kind, exif=exif, **options), "picture"))
    assert shown.shape[:2] == ((3, 2) if orientation in (5, 6, 7, 8) else (2, 3))
    for r in range(2):
        for c in range(3):
            assert (shown[SHOWN[orientation](r, c, 2, 3)] == stored[r, c]).all()


def test_damaged_metadata_does_not_spoil_the_pixels() -> None:
    file = encoded(filled("RGB", (10, 10, 10)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert pixel(file) == (10, 10, 10)


# --- broken files ----------------------------------------------------------------------------------------------------

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "empty: zero bytes", id="empty"),
        pytest.param(b"hello", "not a picture", id="text"),
        pytest.param(encoded(NOISE, "JPEG")[:4], "not a picture .* or damaged", id="beginning"),
        pytest.param(encoded(NOISE, "JPEG")[:600], "Truncated", id="half-jpeg"),
        pytest.param(encoded(NOISE, "PNG")[:600], "truncated", id="half-png"),
        pytest.param(encoded(NOISE, "BMP")[:600], "truncated", id="half-bmp"),
    ],
)
def test_broken_files_say_why(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    for source in (content, file):
        with pytest.raises(BrokenPicture, match=reason) as caught:
            decode(source, "the name")
        assert caught.value.name == "the name"
        assert str(caught.value) == f"the name: {caught.value.reason}"
        assert " at 0x" not in str(caught.value)
        assert caught.value.__context__ is None  # holds no frames with half a picture in them


def test_what_is_no_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone")
    there = tmp_path / "there.png"
    NOISE.save(there)
    for file, reason in (
        (tmp_path, "folder"),
        (tmp_path / "pipe.png", "no regular file"),
        (tmp_path / "none.png", "no such file"),
        (tmp_path / "link.png", "no such file"),
    ):
        with pytest.raises(BrokenPicture, match=reason):
            decode(file, "x")
    for error, reason in (
        (PermissionError(13, "Permission denied"), "no permission"),
        (OSError(5, "Input/output error", str(there)), "it cannot be read: Input/output error"),
        (OSError("broken <_io.BytesIO object at 0x7f00aa>\n twice"), "it cannot be decoded: broken the file twice$"),
        (MemoryError(), "not enough memory"),
        (KeyError("q"), "KeyError 'q'"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Image, "open", lambda _, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(BrokenPicture, match=reason):
                decode(there, "x")


def test_a_picture_too_large_to_be_true_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = encoded(filled("L", 3), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    assert pixel(file) == (3, 3, 3)  # Pillow warns from here on, and refuses from twice as many on
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(BrokenPicture, match="more pixels than Pillow's limit of 18"):
        decode(file, "x")


@settings(deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000"]), st.data())
def test_damage_never_ends_in_anything_else(kind: str, data: st.DataObject) -> None:
    file = bytearray(encoded(NOISE, kind))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = decode(bytes(file[: data.draw(st.integers(0, len(file)))]), "x")
    except BrokenPicture:
        return
    assert picture.mode == "RGB"


def test_broken_pictures_cross_process_borders() -> None:
    copy = pickle.loads(pickle.dumps(BrokenPicture("a.jpg", "it is empty")))
    assert (copy.name, copy.reason, str(copy)) == ("a.jpg", "it is empty", "a.jpg: it is empty")
