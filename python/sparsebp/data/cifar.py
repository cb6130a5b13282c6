"""CIFAR-10 as its authors distribute it: three archives, packed or not."""

from __future__ import annotations

import importlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from . import unpickle
from .sources import Arrays

_PIXELS = 3 * 32 * 32
_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: The largest file of the three archives has 31 MB; an archive that claims much more is not one of them.
_LARGEST = 1 << 28

_Rows = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # pixels [N, 3072], labels [N]


@dataclass(frozen=True)
class Version:
    """One of the three."""

    name: str
    archive: str
    folder: str
    suffix: str
    meta: str
    rows: Callable[[bytes], _Rows]
    classes: Callable[[bytes], list[str]]

    @property
    def batches(self) -> tuple[str, ...]:
        """The files that hold pictures, the test set's last."""
        return (*(f"data_batch_{i}{self.suffix}" for i in range(1, 6)), f"test_batch{self.suffix}")


def _python_dict(data: bytes) -> dict[str, Any]:
    found = unpickle.load(data)
    if not isinstance(found, dict):
        raise ValueError(f"expected a dict, got {type(found).__name__}")
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in found.items()}


def _python_rows(data: bytes) -> _Rows:
    found = _python_dict(data)
    pixels, labels = found.get("data"), found.get("labels")
    if not isinstance(pixels, unpickle.PickledArray):
        raise ValueError("expected an array under the key 'data'")
    if isinstance(labels, unpickle.PickledArray):
        return pixels.numbers(), labels.numbers()
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise ValueError("expected a list of integers under the key 'labels'")
    return pixels.numbers(), np.array(labels, np.int64)


def _python_classes(data: bytes) -> list[str]:
    names = _python_dict(data).get("label_names", [])
    if not isinstance(names, list) or not all(isinstance(name, (bytes, str)) for name in names):
        raise ValueError("expected a list of names under the key 'label_names'")
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _binary_rows(data: bytes) -> _Rows:
    if len(data) % (1 + _PIXELS):
        raise ValueError(f"expected records of {1 + _PIXELS} bytes, got {len(data)} bytes")
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


def _binary_classes(data: bytes) -> list[str]:
    return data.decode().split()


def _matlab(data: bytes) -> dict[str, Any]:
    try:
        scipy_io = importlib.import_module("scipy.io")
    except ImportError as error:
        raise ImportError(
            "CIFAR-10's Matlab files are read with scipy, which is not installed: "
            "run `pip install scipy`, or take the binary or the Python version of CIFAR-10"
        ) from error
    return dict(scipy_io.loadmat(io.BytesIO(data)))


def _matlab_rows(data: bytes) -> _Rows:
    found = _matlab(data)
    return np.asarray(found.get("data")), np.asarray(found.get("labels")).reshape(-1)


def _matlab_classes(data: bytes) -> list[str]:
    cells = np.asarray(_matlab(data).get("label_names", []), dtype=object).reshape(-1)
    return [str(np.asarray(cell).reshape(-1)[0]) for cell in cells]


#: The first one found is read: the plainest format first.
VERSIONS = (
    Version(
        "binary",
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        ".bin",
        "batches.meta.txt",
        _binary_rows,
        _binary_classes,
    ),
    Version(
        "python", "cifar-10-python.tar.gz", "cifar-10-batches-py", "", "batches.meta", _python_rows, _python_classes
    ),
    Version(
        "matlab",
        "cifar-10-matlab.tar.gz",
        "cifar-10-batches-mat",
        ".mat",
        "batches.meta.mat",
        _matlab_rows,
        _matlab_classes,
    ),
)


def find(path: Path) -> tuple[Version | None, Path] | None:
    """The version and the place of CIFAR-10 at ``path``; no version for an archive, which must be looked into."""
    if path.is_file():
        return (None, path) if _is_archive(path) else None
    for version in VERSIONS:
        if (path / version.batches[0]).is_file():
            return version, path
    for version in VERSIONS:
        if (path / version.folder).is_dir():
            return version, path / version.folder
        if (path / version.archive).is_file():
            return None, path / version.archive
    return None


def _is_archive(path: Path) -> bool:
    import tarfile

    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"path: {path} is damaged ({error}); get it anew") from error


def read(version: Version | None, place: Path) -> tuple[Arrays, Arrays, tuple[str, ...], str]:
    """Training set, test set, class names and the name of the version.

    Raises:
        ValueError: a file is missing or damaged, or a pickle asks for more than arrays.
        ImportError: the Matlab version without scipy.
    """
    files = dict(_members(place) if version is None else _folder(place, version))
    if version is None:
        version = next((v for v in VERSIONS if v.batches[0] in files), None)
        if version is None:
            raise ValueError(
                f"path: expected an archive with CIFAR-10's data_batch_1[.bin|.mat], found none in {place}"
            )
    missing = [name for name in version.batches if name not in files]
    if missing:
        raise ValueError(f"path: {place} lacks {', '.join(missing)}; get CIFAR-10 anew")
    names = _parsed(version.classes, files.pop(version.meta), place, version.meta) if version.meta in files else []
    parts = [_pictures(_parsed(version.rows, files.pop(n), place, n), f"{place}: {n}") for n in version.batches]
    test_images, test_labels = parts.pop()
    train_images, train_labels = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return (
        Arrays(train_images, train_labels, f"{place.name} train"),
        Arrays(test_images, test_labels, f"{place.name} test"),
        tuple(names) or _NAMES,
        version.name,
    )


def _folder(place: Path, version: Version) -> Iterator[tuple[str, bytes]]:
    for name in (*version.batches, version.meta):
        if (place / name).is_file():
            yield name, (place / name).read_bytes()


def _members(place: Path) -> Iterator[tuple[str, bytes]]:
    """The known files of an archive. Nothing is written to disk, so where a member wants to go does not matter."""
    import tarfile

    known = {name for version in VERSIONS for name in (*version.batches, version.meta)}
    try:
        with tarfile.open(place, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if name in known and member.isreg() else None
                if content is not None and member.size <= _LARGEST:
                    yield name, content.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(f"path: {place} is damaged ({error}); get it anew") from None


def _parsed(parse: Callable[[bytes], Any], data: bytes, place: Path, name: str) -> Any:
    try:
        return parse(data)
    except ImportError:
        raise
    except Exception as error:  # scipy raises its own
        raise ValueError(f"path: {place}: {name} is not what CIFAR-10 holds: {error}") from None


def _pictures(rows: _Rows, what: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    pixels, labels = rows
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != _PIXELS or labels.shape != pixels.shape[:1]:
        raise ValueError(
            f"path: {what}: expected uint8 [N, {_PIXELS}] and N labels, got {pixels.dtype} {list(pixels.shape)} "
            f"and labels {list(labels.shape)}"
        )
    # Stored as all red, all green, all blue. A copy in the order of use: concatenate would keep the stored one.
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels
