"""Which pictures of a folder a plan file has learned from: ``OUT.seen`` beside it.

A picture is known by a key of eight bytes, made of its class, name and size: modification times of a board without a
clock of its own are worth nothing. The file is written before the plan file, and says by the plan's counter of batches
which keys count for it: those up to the save before, or also those since. So a kill between the two costs nothing, and
no picture is left out or trained twice in what is saved.

The file: magic, version, the plan's digest, batches at the save before and at this one, how many keys are from before,
how many in all; the keys; a CRC-32 of all that. Numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..data.digests import blake2b, sha256
from ..files import write_atomically
from .session import Session

_MAGIC = b"sbp-seen\0\0\0\0"
_VERSION = 1
_HEAD = struct.Struct("<12sI32sQQQQ")
_CHECKSUM = 4
MOST_GONE = 1 << 16
"""So many keys of pictures that are gone are remembered: their folder may be on a disk that comes back."""

Keys = npt.NDArray[np.uint64]


def key_of(name: str, picture: str, size: int) -> int:
    """The key of a picture of a class."""
    text = "\0".join((name, picture, str(size))).encode(errors="surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def beside(out: Path) -> Path:
    """Where the pictures of a plan file are listed."""
    return out.with_name(f"{out.name}.seen")


class SeenPictures:
    """The keys of the pictures that a session has learned from.

    Args:
        out: the plan file that the session is saved to.
        session: what of an earlier run counts is what it has in it.

    Raises:
        ValueError: the file beside ``out`` is damaged, or another.
        OSError: it cannot be read.
    """

    def __init__(self, out: Path, session: Session) -> None:
        self.path = beside(out)
        self._session = session
        self._digest = sha256(session.metadata.get("plan_digest", "").encode()).digest()
        self._saved: Keys = self._read() if self.path.exists() else np.empty(0, np.uint64)
        self._batches = session.progress.batches
        self._new: set[int] = set()

    def __contains__(self, key: int) -> bool:
        if key in self._new:
            return True
        place = np.searchsorted(self._saved, np.uint64(key))
        return bool(place < len(self._saved) and self._saved[place] == key)

    def __len__(self) -> int:
        return len(self._saved) + len(self._new)

    def add(self, key: int) -> None:
        """The picture of this key is learned, or will never be."""
        self._new.add(key)

    def forget_gone(self, there: Keys) -> None:
        """Forgets pictures that are not among those ``there``, once these are too many."""
        there = np.sort(there)
        gone = np.searchsorted(there, self._saved, "left") == np.searchsorted(there, self._saved, "right")
        if np.count_nonzero(gone) > MOST_GONE:
            self._saved = self._saved[~gone]

    def write(self) -> None:
        """Before the plan file is saved: which pictures are in the one that is there, and which in the one to come.

        Raises:
            OSError: it cannot be written.
        """
        new = np.array(sorted(self._new), np.uint64)
        batches = self._session.progress.batches
        counts = len(self._saved), len(self._saved) + len(new)
        head = _HEAD.pack(_MAGIC, _VERSION, self._digest, self._batches, batches, *counts)
        whole = head + self._saved.astype("<u8").tobytes() + new.astype("<u8").tobytes()
        write_atomically(self.path, whole + zlib.crc32(whole).to_bytes(_CHECKSUM, "little"))

    def saved(self) -> None:
        """After the plan file is saved."""
        self._saved = _distinct(np.append(self._saved, np.array(sorted(self._new), np.uint64)))
        self._new.clear()
        self._batches = self._session.progress.batches

    def _read(self) -> Keys:
        data = self.path.read_bytes()
        if len(data) < _HEAD.size or not data.startswith(_MAGIC):
            raise ValueError(f"{self.path}: it is no list of pictures; remove it to learn from all of them again")
        _, version, digest, before, batches, older, count = _HEAD.unpack_from(data)
        if version > _VERSION:
            raise ValueError(f"{self.path}: it is written in version {version}, this sparsebp reads {_VERSION}")
        whole, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
        complete = len(whole) == _HEAD.size + 8 * count and older <= count
        if not complete or zlib.crc32(whole).to_bytes(_CHECKSUM, "little") != checksum:
            raise ValueError(f"{self.path}: it is damaged; remove it to learn from all pictures again")
        learned = self._session.progress.batches
        if digest != self._digest or learned < before:
            return np.empty(0, np.uint64)  # a session that began anew
        keys = np.frombuffer(whole, "<u8", count if learned >= batches else older, _HEAD.size)
        return _distinct(keys.astype(np.uint64))


def _distinct(keys: Keys) -> Keys:
    """Each key once, in ascending order; ``numpy.unique`` loads masked arrays, 1.6 MB that a board needs otherwise."""
    ordered = np.sort(keys)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]
