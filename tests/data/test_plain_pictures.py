"""What reads and resizes pictures where there is no Pillow, held against Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sparsebp.data import BrokenPicture, Preprocess, open_dataset
from sparsebp.data import pictures as reading
from sparsebp.data.plain import PlainPicture, decode
from sparsebp.data.resample import resize

FILTERS = ("box", "bilinear", "hamming", "bicubic", "lanczos")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def by_pillow(
    image: np.ndarray, size: tuple[int, int], kind: str, box: tuple[float, float, float, float]
) -> np.ndarray:
    """Rows, then columns, in two calls, each of which has one direction to resize."""
    how = Image.Resampling[kind.upper()]
    rows = Image.fromarray(image).resize((size[0], image.shape[0]), how, box=(box[0], 0, box[2], image.shape[0]))
    return np.asarray(rows.resize(size, how, box=(0, box[1], size[0], box[3])))


@settings(deadline=None, max_examples=60)
@given(
    sides=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    kind=st.sampled_from(FILTERS),
    margins=st.tuples(*(st.floats(0, 0.45) for _ in range(4))),
)
def test_every_pixel_is_pillows(
    sides: tuple[int, int], size: tuple[int, int], kind: str, margins: tuple[float, float, float, float]
) -> None:
    height, width = sides
    box = (margins[0] * width, margins[1] * height, width - margins[2] * width, height - margins[3] * height)
    image = noise(height, width)
    assert np.array_equal(resize(image, size, kind, box), by_pillow(image, size, kind, box))


@pytest.mark.parametrize(("sides", "size"), [((500, 375), (128, 96)), ((48, 64), (192, 96))])
def test_the_nearest_pixel_is_pillows(sides: tuple[int, int], size: tuple[int, int]) -> None:
    image = noise(*sides)
    wanted = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))
    assert np.array_equal(resize(image, size, "nearest", (0, 0, sides[1], sides[0])), wanted)


@pytest.mark.parametrize("way", ["crop", "stretch", "pad"])
def test_a_plain_picture_is_fitted_as_one_of_pillow(way: str) -> None:
    image, fit = noise(90, 130), Preprocess((64, 64), resize=way)
    plain, pillow = fit.fit(PlainPicture(image)), fit.fit(Image.fromarray(image))  # type: ignore[arg-type]
    # Pillow may resize columns first, which rounds otherwise in between.
    assert np.abs(plain.astype(int) - pillow).max() <= 1


@pytest.mark.parametrize("name", ["P6", "P5", "comments", "fifteen", "npy", "grey npy"])
def test_files_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    image, file = noise(5, 7), tmp_path / "picture"
    grey = image[:, :, 0]
    wanted = np.repeat(grey[:, :, None], 3, 2) if name in ("P5", "grey npy") else image
    if name == "npy":
        with file.open("wb") as stream:
            np.save(stream, image)
    elif name == "grey npy":
        with file.open("wb") as stream:
            np.save(stream, grey)
    elif name == "P5":
        file.write_bytes(b"P5\n7 5\n255\n" + grey.tobytes())
    elif name == "fifteen":
        file.write_bytes(b"P6 7 5 15\n" + (image // 17).tobytes())
        wanted = image // 17 * 17
    else:
        comment = b"# by a camera\n#\n" if name == "comments" else b""
        file.write_bytes(b"P6\n" + comment + b"7 5\n" + comment + b"255\n" + image.tobytes())
    assert np.array_equal(np.asarray(decode(file, "p")), wanted)
    assert np.array_equal(np.asarray(reading.decode(file, "p")), wanted)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"\xff\xd8\xff\xe0", "install Pillow"),
        (b"P6\n7 five\n255\n", "damaged at its beginning"),
        (b"P6\n7 5\n255\n" + bytes(104), "it is 7 x 5, but has 104 of 105 bytes"),
        (b"P6\n7 5\n65535\n" + bytes(210), "only 1 to 255"),
        (b"P6\n0 5\n255\n", "0 x 5"),
        (b"\x93NUMPY\x01\x00", "cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(BrokenPicture, match=reason):
        decode(data, "picture")


def test_an_array_of_something_else_is_no_picture(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.float32))
    for read in (decode, reading.decode):
        with pytest.raises(BrokenPicture, match="expected an array of uint8"):
            read(tmp_path / "a.npy", "a.npy")


def test_arrays_in_folders_are_pictures(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            np.save(tmp_path / name / f"{i}.npy", noise(5, 7, i))
    found = open_dataset(tmp_path)
    assert len(found.train) + len(found.test) == 6
    assert np.asarray(found.train.picture(0)).shape == (5, 7, 3)
