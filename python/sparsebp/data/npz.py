"""A training and a test set in one ``.npz`` file each."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .sources import Arrays, Encoded, Source, check_integers


def find(folder: Path) -> tuple[Path, Path] | None:
    """``*train.npz`` and ``*test.npz`` in a folder.

    Raises:
        ValueError: several of one, or one without the other.
    """
    names = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
    train, test = ([path for path in names if path.name.endswith(end)] for end in ("train.npz", "test.npz"))
    if not train and not test:
        return None
    for end, found in (("train.npz", train), ("test.npz", test)):
        if len(found) != 1:
            there = ", ".join(path.name for path in found) or f"only {', '.join(p.name for p in train + test)}"
            raise ValueError(f"path: expected one *{end} in {folder}, found {there}")
    return train[0], test[0]


def read(train: Path, test: Path) -> tuple[Source, Source, tuple[str, ...]]:
    """Training set, test set and class names.

    Raises:
        ValueError: a key is missing, or what it holds makes no sense.
    """
    (train_source, names), (test_source, others) = _read(train), _read(test)
    if names and others and names != others:
        raise ValueError(f"path: {train.name} and {test.name} name different classes: {names} and {others}")
    count = max((int(source.labels.max(initial=-1)) + 1 for source in (train_source, test_source)), default=0)
    return train_source, test_source, names or others or tuple(str(label) for label in range(count))


def _read(file: Path) -> tuple[Source, tuple[str, ...]]:
    import zipfile

    try:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is damaged, or no .npz file")
        # Opened here, because numpy leaves a file open that it cannot read.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            kind = {"images", "jpeg"} & set(arrays.files)
            if len(kind) != 1:
                raise ValueError(
                    f"expected the keys images and labels, or jpeg, offsets and labels; found {', '.join(arrays.files)}"
                )
            labels = check_integers("labels", _array(arrays, "labels"))
            names = tuple(str(name) for name in _names(arrays))
            if kind == {"images"}:
                return Arrays(_array(arrays, "images"), labels, file.name), names
            return Encoded(_array(arrays, "jpeg"), _array(arrays, "offsets"), labels, file.name), names
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"path: {file}: {error}") from None


def _array(arrays: Any, key: str) -> npt.NDArray[Any]:
    if key not in arrays.files:
        raise ValueError(f"expected a key {key}, found {', '.join(arrays.files)}")
    try:
        array: npt.NDArray[Any] = arrays[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(f"{key}: it holds Python objects, which are never loaded; save it as a plain array") from None
    return array


def _names(arrays: Any) -> list[Any]:
    if "classes" not in arrays.files:
        return []
    names = _array(arrays, "classes")
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise ValueError(f"classes: expected text [K], got {names.dtype} {list(names.shape)}")
    return [name.decode() if isinstance(name, bytes) else name for name in names.tolist()]
