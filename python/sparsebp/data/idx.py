"""The four files of MNIST, which many data sets since have copied (Fashion-MNIST, KMNIST, EMNIST's parts)."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .sources import Arrays

_SETS = ("train", "t10k")
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_BYTES = 8  # the code of uint8 in an IDX header

Files = tuple[Path, Path]  # images, labels


def find(folder: Path) -> tuple[Files, Files] | None:
    """``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same for ``t10k``, each perhaps with ``.gz``.

    Raises:
        ValueError: some of them, but not all.
    """
    names = [f"{which}-{part}" for which in _SETS for part in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    found = [next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None) for name in names]
    files = [path for path in found if path is not None]
    if not files:
        return None
    if len(files) < len(names):
        missing = names[found.index(None)]
        raise ValueError(f"path: expected {missing} or {missing}.gz in {folder}, found only {files[0].name} and such")
    return (files[0], files[1]), (files[2], files[3])


def read(train: Files, test: Files) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """Training set, test set and class names, which the files lack: those of Fashion-MNIST where the folder says so.

    Raises:
        ValueError: a file is damaged or holds something else.
    """
    sources = [_source(*files) for files in (train, test)]
    count = max(int(source.labels.max(initial=-1)) + 1 for source in sources)
    fashion = "fashion" in train[0].parent.name.lower() and count == len(_FASHION)
    return sources[0], sources[1], _FASHION if fashion else tuple(str(label) for label in range(count))


def _source(images: Path, labels: Path) -> Arrays:
    pictures, numbers = _read(images, 3), _read(labels, 1)
    if len(pictures) != len(numbers):
        raise ValueError(f"path: {images} has {len(pictures):,} pictures, {labels.name} has {len(numbers):,} labels")
    return Arrays(pictures, numbers.astype(np.int64), images.name.partition("-")[0])


def _read(file: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """An array of bytes: two zeros, the code of the type, the number of dimensions, each as 4 bytes, the data."""
    import gzip

    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"path: {file}: {error}") from None
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes((0, 0, _BYTES, dimensions)):
        raise ValueError(f"path: {file}: expected an IDX file of bytes in {dimensions} dimensions; it begins otherwise")
    shape = [int(side) for side in np.frombuffer(data, ">u4", dimensions, 4)]
    if len(data) - header != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"path: {file}: it says {shape}, but {len(data) - header:,} bytes follow")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
