"""A file of slots of the same size, each with a checksum, behind the two headers that say what is in them.

A slot is the CRC-32 of what follows, the bytes of the features, their class's row, how many features they are, their
offset and scale, and the features. One that a kill left half written, or never was written, is empty.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import ReservoirError
from ..files import named_errors, sync_folder
from . import reservoir_header
from .encoding import KINDS, Features, decode, encode
from .locks import lock
from .reservoir_header import Header

_SLOT = struct.Struct("<IIIIff")
_UNCHECKED = 4  # the checksum itself
NO_CLASS = 2**32 - 1
"""The row of a slot whose features are of no class, or that has none."""


class Kept(NamedTuple):
    """The features of a picture, the row of its class, and the step from one number that is stored to the next."""

    row: int
    features: Features
    step: float


class SlotFile:
    """The open file; nobody else has it meanwhile.

    Attributes:
        path: of the file.
        header: what it says of itself; changes are on the disk after :meth:`write_header`.
    """

    def __init__(self, path: Path, handle: int, header: Header) -> None:
        self.path, self._handle, self.header = path, handle, header
        self._slot_bytes = _slot_bytes(header)

    @classmethod
    def open(cls, path: Path) -> SlotFile:
        """A file that there is.

        Raises:
            OSError, ReservoirError: it cannot be opened, is something else, or another process has it.
        """
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _lock(handle)
            return cls(path, handle, reservoir_header.find(handle))
        except BaseException as error:
            os.close(handle)
            if isinstance(error, ReservoirError):
                raise ReservoirError(f"{path}: {error}") from None
            raise

    @classmethod
    def create(cls, path: Path, header: Header, slots: int, first: Features) -> SlotFile:
        """A new file, which is there when it is complete.

        Args:
            path: of the file.
            header: of it.
            slots: that it has.
            first: what slot 0 holds, in no class.

        Raises:
            OSError: the disk is full, or the folder cannot be written; nothing is left behind.
        """
        part = path.with_name(f".{path.name}.partial")
        with named_errors(path):
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(handle)
            os.ftruncate(handle, 0)
            made = cls(path, handle, header)
            made.resize(slots)
            made.write(0, NO_CLASS, first)
            for _ in range(2):
                made.write_header()
            made.sync()
            os.rename(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            os.close(handle)
            raise
        sync_folder(path.parent)
        return made

    def close(self) -> None:
        """Gives the file to others."""
        os.close(self._handle)

    # -- sizes -----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._handle).st_size

    @property
    def slots(self) -> int:
        """That the file has."""
        return slots_of(self.header, self.size)

    def resize(self, slots: int) -> None:
        """Gives the file so many slots; new ones are empty.

        Raises:
            OSError: the disk is full; the file is as it was.
        """
        size, before = size_of(self.header, slots), self.size
        with named_errors(self.path):
            if size < before:
                os.ftruncate(self._handle, size)
                return
            try:
                os.posix_fallocate(self._handle, 0, size)  # so that a disk is full now and never later
            except OSError as error:
                os.ftruncate(self._handle, before)
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                os.ftruncate(self._handle, size)

    # -- slots -----------------------------------------------------------------------------------

    def row(self, slot: int) -> int:
        """The row of the class that a slot says its features are of, unchecked; :data:`NO_CLASS` if it is empty."""
        head = os.pread(self._handle, _SLOT.size, self._place(slot))
        return _SLOT.unpack(head)[2] if self._is_filled(head) else NO_CLASS

    def read(self, slot: int) -> Kept | None:
        """What a slot holds; None if it is empty or damaged."""
        data = os.pread(self._handle, self._slot_bytes, self._place(slot))
        if not self._is_filled(data) or len(data) < self._slot_bytes:
            return None
        checksum, _, row, _, offset, scale = _SLOT.unpack_from(data)
        if zlib.crc32(memoryview(data)[_UNCHECKED:]) != checksum:
            return None
        return Kept(row, decode(data[_SLOT.size :], self.header.kind, offset, scale), scale)

    def _is_filled(self, data: bytes) -> bool:
        if len(data) < _SLOT.size:  # the file is shorter than it was
            return False
        _, count, _, features, _, _ = _SLOT.unpack_from(data)
        return (count, features) == (self._slot_bytes - _SLOT.size, self.header.features)

    def write(self, slot: int, row: int, features: Features) -> None:
        """Fills a slot; a kill meanwhile leaves it empty."""
        data, offset, scale = encode(features, self.header.kind)
        fields = (len(data), row, self.header.features, offset, scale)
        whole = _SLOT.pack(0, *fields)[_UNCHECKED:] + data
        self._write(zlib.crc32(whole).to_bytes(_UNCHECKED, "little") + whole, self._place(slot))

    def move(self, slot: int, to: int) -> None:
        """Copies what a slot holds into another."""
        self._write(os.pread(self._handle, self._slot_bytes, self._place(slot)), self._place(to))

    def erase(self, slot: int) -> None:
        """Empties a slot."""
        self._write(bytes(_SLOT.size), self._place(slot))

    # -- the header, the disk ----------------------------------------------------------------------

    def write_header(self) -> None:
        """Over the older of the two."""
        self.header.edition += 1
        self._write(self.header.encoded(), self.header.edition % 2 * self.header.room)

    def sync(self) -> None:
        """Waits until everything is on the disk."""
        with named_errors(self.path):
            os.fsync(self._handle)

    def _place(self, slot: int) -> int:
        return size_of(self.header, slot)

    def _write(self, data: bytes, place: int) -> None:
        rest = memoryview(data)
        with named_errors(self.path):
            while rest:
                written = os.pwrite(self._handle, rest, place)
                rest, place = rest[written:], place + written


def _lock(handle: int) -> None:
    if not lock(handle):
        raise ReservoirError("another process uses it; give each one of its own")


def _slot_bytes(header: Header) -> int:
    return _SLOT.size + header.features * np.dtype(KINDS[header.kind]).itemsize


def size_of(header: Header, slots: int) -> int:
    """Bytes of a file with so many slots."""
    return 2 * header.room + slots * _slot_bytes(header)


def slots_of(header: Header, size: int) -> int:
    """Slots of a file of so many bytes."""
    return max(0, size - 2 * header.room) // _slot_bytes(header)
