"""Pictures as the example for boards reads them are Pillow's, give or take one."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from adapt_program import SOURCE
from c_library import STRICT, run
from PIL import Image
from sparsebp.data import Preprocess

Fit = Callable[[Path, int, int], np.ndarray]


class Size(ctypes.Structure):
    _fields_ = (("width", ctypes.c_int), ("height", ctypes.c_int))


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """``picture_read`` of a PPM, for a height and a width."""
    if shutil.which("cc") is None:
        pytest.skip("building the example needs a C compiler")
    library = tmp_path_factory.mktemp("picture") / "picture.so"
    run("cc", *STRICT, "-O2", "-shared", "-fPIC", SOURCE / "picture.c", "-o", library, "-lm")
    read = ctypes.CDLL(str(library)).picture_read
    read.restype = ctypes.c_char_p
    read.argtypes = [ctypes.c_char_p, ctypes.c_void_p, Size, ctypes.c_void_p]

    def fitted(path: Path, height: int, width: int) -> np.ndarray:
        out = np.zeros((height, width, 3), np.uint8)
        wrong = read(str(path).encode(), None, Size(width, height), out.ctypes.data)
        assert wrong is None, wrong
        return out

    return fitted


def difference(fit: Fit, image: Image.Image, place: Path, height: int, width: int) -> int:
    """The greatest difference to Pillow's bytes."""
    image.save(place / "picture.ppm")
    expected = Preprocess((height, width)).fit(image).astype(int)
    return int(np.abs(fit(place / "picture.ppm", height, width) - expected).max())


def test_noise_of_every_shape_is_within_one_of_pillows(fit: Fit, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        height, width, *to = (int(side) for side in generator.integers(1, 70, 4))
        image = Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))
        assert difference(fit, image, tmp_path, *to) <= 1


@pytest.mark.parametrize(("width", "height"), [(128, 128), (32, 32), (1920, 1080), (640, 480), (641, 363)])
def test_frames_of_cameras_have_pillows_bytes(fit: Fit, tmp_path: Path, width: int, height: int) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    assert difference(fit, image, tmp_path, 128, 128) == 0


@pytest.mark.parametrize("to", [(128, 128), (96, 160)])
def test_photographs_are_within_one_of_pillows(fit: Fit, tmp_path: Path, data_root: Path, to: tuple[int, int]) -> None:
    for file in sorted((data_root / "ants_bees" / "val").rglob("*.jpg"))[::4]:
        with Image.open(file) as image:
            assert difference(fit, image.convert("RGB"), tmp_path, *to) <= 1
