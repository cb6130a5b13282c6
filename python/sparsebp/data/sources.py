"""Where pictures and their labels are: in files, in an array, in one buffer of encoded files."""

from __future__ import annotations

import operator
import os
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..files import as_path
from .digests import blake2b, sha256
from .levels import Levels
from .pictures import decode, extremes, from_array, is_deep

if TYPE_CHECKING:
    from .pictures import Picture

_BEGINNING = 1 << 14
"""Bytes of a file that tell it from others of its name and size: as many as come from a disk at once anyway."""


class Source(Protocol):
    """Pictures with labels. It travels to worker processes, so it must be picklable."""

    labels: npt.NDArray[np.int64]  # [N]

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What messages call a picture."""
        ...

    def picture(self, index: int) -> Picture:
        """In RGB. Raises BrokenPicture."""
        ...

    def fingerprint(self) -> str:
        """A hex digest that changes when the set of pictures does, not when it moves to another folder."""
        ...


class PictureFiles(ABC):
    """What sources have in common whose pictures are to be decoded.

    Attributes:
        levels: black and white of pictures with more than 8 bits a sample.
    """

    levels: Levels | None = None

    @abstractmethod
    def name(self, index: int) -> str: ...

    @abstractmethod
    def _file(self, index: int) -> Path | bytes: ...

    def picture(self, index: int) -> Picture:
        return decode(self._file(index), self.name(index), self.levels)

    def is_deep(self, index: int) -> bool:
        """Whether a picture has more than 8 bits a sample."""
        return is_deep(self._file(index))

    def extremes(self, index: int) -> tuple[float, float] | None:
        """About the least and the greatest value of a picture that has, if its file does not state them."""
        return extremes(self._file(index), self.name(index))


class Files(PictureFiles):
    """One picture a file.

    Args:
        root: a folder.
        paths: of the files, relative to ``root``, with ``/`` between their parts.
        labels: integers, one a file.
    """

    def __init__(self, root: str | Path, paths: Sequence[str], labels: npt.ArrayLike) -> None:
        self.root = as_path(root, "root").absolute()  # wherever a worker process stands
        self.paths = tuple(str(as_path(path, "paths")) if not isinstance(path, str) else path for path in paths)
        self.labels = check_labels(labels, len(self.paths))
        self._keys: npt.NDArray[np.int64] | None = None
        outside = next((path for path in self.paths if os.path.isabs(path)), None)
        if outside is not None:
            raise ValueError(f"paths: expected paths relative to root, got {outside}")

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return printable(self.root / self.paths[check_index(self, index)])

    def _file(self, index: int) -> Path:
        return self.root / self.paths[check_index(self, index)]

    def fingerprint(self) -> str:
        digest = sha256(b"files")
        for path, size, label in zip(self.paths, self._sizes(), self.labels.tolist(), strict=True):
            digest.update(os.fsencode(path) + f"\0{size}\0{label}\0".encode())
        return digest.hexdigest()

    def keys(self) -> npt.NDArray[np.int64]:
        """A number for each picture, by which it is known again when others came or went; looked up once.

        It is made of path, size and beginning: cameras give the same names again, and pictures without compression are
        all of one size.
        """
        if self._keys is None:
            digests = b"".join(self._digest(path, size) for path, size in zip(self.paths, self._sizes(), strict=True))
            self._keys = np.frombuffer(digests, "<i8").astype(np.int64)
        return self._keys

    def _digest(self, path: str, size: int) -> bytes:
        row = os.fsencode(unicodedata.normalize("NFC", path)) + f"\0{size}\0".encode()
        file = self.root / path
        if file.is_file():  # reading a pipe would wait for ever
            with suppress(OSError), file.open("rb") as stream:
                row += stream.read(_BEGINNING)
        return blake2b(row, digest_size=8).digest()

    def _sizes(self) -> list[int]:
        """In bytes; -1 where there is no file any more."""
        sizes = []
        for path in self.paths:
            try:
                sizes.append((self.root / path).stat().st_size)
            except OSError:
                sizes.append(-1)
        return sizes


class Arrays:
    """Pictures of one size, side by side.

    Args:
        images: uint8 [N, H, W, 3], or [N, H, W] for grey.
        labels: integers [N].
        title: what messages call the whole.
    """

    def __init__(self, images: npt.NDArray[np.uint8], labels: npt.ArrayLike, title: str = "images") -> None:
        images = np.asarray(images)
        grey = images.ndim == 3
        if images.dtype != np.uint8 or not (grey or (images.ndim == 4 and images.shape[3] == 3)):
            got = f"{images.dtype} {list(images.shape)}"
            raise ValueError(f"images: expected uint8 [N, H, W, 3], or [N, H, W] for grey; got {got}")
        if 0 in images.shape[1:3]:
            raise ValueError(f"images: expected pictures with pixels, got {list(images.shape)}")
        self.images = images
        self.labels = check_labels(labels, len(images))
        self.title = title

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"{self.title}[{check_index(self, index)}]"

    def picture(self, index: int) -> Picture:
        return from_array(self.images[check_index(self, index)])

    def fingerprint(self) -> str:
        digest = sha256(f"arrays {list(self.images.shape)}".encode())
        digest.update(self.labels.tobytes())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


class Encoded(PictureFiles):
    """Picture files (JPEG, PNG, ...) end to end in one buffer.

    Args:
        jpeg: the bytes, as ``bytes`` or uint8 [B].
        offsets: integers [N + 1]; file i is ``jpeg[offsets[i]:offsets[i + 1]]``.
        labels: integers [N].
        title: what messages call the whole.
    """

    def __init__(
        self, jpeg: bytes | npt.NDArray[np.uint8], offsets: npt.ArrayLike, labels: npt.ArrayLike, title: str = "jpeg"
    ) -> None:
        data = np.frombuffer(jpeg, np.uint8) if isinstance(jpeg, (bytes, bytearray)) else np.asarray(jpeg)
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ValueError(f"jpeg: expected bytes or uint8 [B], got {data.dtype} {list(data.shape)}")
        bounds = check_integers("offsets", offsets)
        if len(bounds) == 0 or bounds[0] < 0 or bounds[-1] > len(data) or (np.diff(bounds) < 0).any():
            raise ValueError(f"offsets: expected N + 1 ascending integers from 0 to {len(data)}, the bytes in jpeg")
        self.jpeg = data
        self.offsets = bounds
        self.labels = check_labels(labels, len(bounds) - 1)
        self.title = title

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self.title}[{check_index(self, index)}]"

    def _file(self, index: int) -> bytes:
        first, last = self.offsets[check_index(self, index) : index + 2]
        return self.jpeg[first:last].tobytes()

    def fingerprint(self) -> str:
        digest = sha256(f"encoded {len(self.jpeg)} {len(self)}".encode())
        for part in (self.offsets, self.labels, self.jpeg):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def printable(path: Path) -> str:
    """A path for messages, also where its name is no valid text on this system."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def check_integers(argument: str, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """``values`` as int64 [N]; nothing is rounded."""
    array: npt.NDArray[Any] = np.asarray(values)
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{argument}: expected integers [N], got {array.dtype} {list(array.shape)}")
    return array.astype(np.int64)


def check_labels(labels: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """``labels`` as int64 [count] if none is negative."""
    array = check_integers("labels", labels)
    if len(array) != count:
        raise ValueError(f"labels: expected one a picture, {count}, got {len(array)}")
    if count and array.min() < 0:
        raise ValueError(f"labels: expected 0, 1, 2, ...; got {array.min()} for picture {array.argmin()}")
    return array


def check_index(source: Source, index: int) -> int:
    """``index`` if the source has it; Python's negative ones it has not."""
    if not 0 <= operator.index(index) < len(source):
        raise IndexError(f"index: expected 0 to {len(source) - 1}, got {index}")
    return operator.index(index)
