"""MNIST's four files: read whether packed or not, and what is wrong with them is said."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparsebp.data import open_dataset


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def four_files(folder: Path, packed: bool = False, count: int = 3) -> Path:
    """``count`` pictures of each of ten classes to learn from, one to test; each as grey as its label."""
    folder.mkdir(exist_ok=True)
    for name, many in (("train", count), ("t10k", 1)):
        labels = np.arange(10 * many, dtype=np.uint8) % 10
        images = np.broadcast_to(labels[:, None, None], (len(labels), 4, 5))
        for part, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            data = idx(np.ascontiguousarray(array))
            file = folder / f"{name}-{part}{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(data) if packed else data)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_four_files_are_read(packed: bool, tmp_path: Path) -> None:
    data = open_dataset(four_files(tmp_path, packed))
    assert (len(data.train), len(data.test), data.kind) == (30, 10, "MNIST files")
    assert data.classes == tuple("0123456789")
    assert data.train.labels.tolist() == 3 * list(range(10))
    assert data.train.name(7) == "train[7]"
    picture = data.test.picture(6)
    assert (picture.size, picture.mode, picture.getpixel((0, 0))) == ((5, 4), "RGB", (6, 6, 6))


def test_fashion_mnist_is_known_by_its_folder(tmp_path: Path) -> None:
    assert open_dataset(four_files(tmp_path / "fashion-mnist")).classes[9] == "Ankle boot"
    assert open_dataset(four_files(tmp_path / "kmnist")).classes[9] == "9"


FOUR_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "one is missing": (lambda f: (f / "t10k-labels-idx1-ubyte").unlink(), "expected t10k-labels-idx1-ubyte or"),
    "of another type": (lambda f: _cut(f, slice(4, None), b"\0\0\x0d\x03"), "expected an IDX file of bytes in 3 dim"),
    "cut off": (lambda f: _cut(f, slice(0, -1)), r"it says \[30, 4, 5\], but 599 bytes follow"),
    "empty": (lambda f: _cut(f, slice(0, 0)), "expected an IDX file"),
    "other labels": (
        lambda f: (f / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(29, np.uint8))),
        "30 pictures, train-labels-idx1-ubyte has 29 labels",
    ),
}


def _cut(folder: Path, part: slice, before: bytes = b"") -> None:
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(before + file.read_bytes()[part])


@pytest.mark.parametrize("kind", FOUR_FILES)
def test_what_is_wrong_with_four_files_is_said(kind: str, tmp_path: Path) -> None:
    spoil, reason = FOUR_FILES[kind]
    spoil(four_files(tmp_path))
    with pytest.raises(ValueError, match=reason):
        open_dataset(tmp_path)


def test_a_packed_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    file = four_files(tmp_path, packed=True) / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz"):
        open_dataset(tmp_path)
