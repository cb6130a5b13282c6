"""What a reservoir's file says of itself, in two copies of which one is always whole.

Each copy: magic, version, its bytes, kind, features of a picture, rows, bytes of a name, seed, turn, edition; then a
row a class, its name and how many of its pictures were seen; then a CRC-32 of all that. Numbers are little-endian. The
second copy lies behind the first, at the next multiple of 512. They are written in turn, the newer edition counts.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field

from ..errors import ReservoirError

MAGIC = b"sbp-reservoir\0\0\0"
VERSION = 1
_HEAD = struct.Struct("<16sII8sIIIQQQ")
_SEEN = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_SECTOR = 512
_MOST = 1 << 22
"""No header is longer; where the first copy is damaged, the second is looked for up to here."""


@dataclass
class Header:
    """What a reservoir's file says of itself.

    Attributes:
        kind: how features are stored.
        features: numbers of a picture.
        rows: classes that there is room for.
        name_bytes: room for a class's name.
        seed, turn: of the random numbers.
        edition: grows each time it is written.
        names: of the classes, in the order in which they came.
        seen: pictures of each, kept or not.
    """

    kind: str
    features: int
    rows: int
    name_bytes: int
    seed: int
    turn: int = 0
    edition: int = 0
    names: list[str] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of a copy."""
        return _HEAD.size + self.rows * (self.name_bytes + _SEEN.size) + _CHECKSUM.size

    @property
    def room(self) -> int:
        """Bytes from one copy to what comes behind it."""
        return -(-self.size // _SECTOR) * _SECTOR

    def add(self, name: str) -> int:
        """The row of a new class.

        Raises:
            ReservoirError: there is no room for it.
        """
        if len(self.names) == self.rows:
            raise ReservoirError(f"it has room for {self.rows} classes, {', '.join(self.names)}, and none for {name}")
        if len(name.encode()) > self.name_bytes:
            raise ReservoirError(f"it has room for names of {self.name_bytes} bytes, {name} is longer")
        self.names.append(name)
        self.seen.append(0)
        return len(self.names) - 1

    def encoded(self) -> bytes:
        numbers = (self.features, self.rows, self.name_bytes, self.seed, self.turn, self.edition)
        rows = b"".join(
            name.encode().ljust(self.name_bytes, b"\0") + _SEEN.pack(seen)
            for name, seen in zip(self.names, self.seen, strict=True)
        )
        head = _HEAD.pack(MAGIC, VERSION, self.size, self.kind.encode(), *numbers)
        whole = (head + rows).ljust(self.size - _CHECKSUM.size, b"\0")
        return whole + _CHECKSUM.pack(zlib.crc32(whole))


def find(handle: int) -> Header:
    """The newer of a file's two headers.

    Raises:
        ReservoirError: there is none.
    """
    first = _read(handle, 0)
    place = _search(handle) if first is None else first.room
    second = _read(handle, place) if place else None
    copies = [header for header in (first, second) if header is not None]
    if copies:
        return max(copies, key=lambda header: header.edition)
    if place or _begins(handle, 0):
        raise ReservoirError("it is damaged, neither of its two headers is whole; remove it to begin anew")
    raise ReservoirError("it is no reservoir of sparsebp; give another file")


def _begins(handle: int, place: int) -> bool:
    return os.pread(handle, len(MAGIC), place) == MAGIC


def _search(handle: int) -> int:
    """Where the second copy begins; 0 if it is nowhere."""
    return next((place for place in range(_SECTOR, _MOST, _SECTOR) if _begins(handle, place)), 0)


def _read(handle: int, place: int) -> Header | None:
    """The header at a place; None if it is damaged."""
    head = os.pread(handle, _HEAD.size, place)
    if len(head) < _HEAD.size or not head.startswith(MAGIC):
        return None
    _, version, count, kind, features, rows, name_bytes, seed, turn, edition = _HEAD.unpack(head)
    if version > VERSION:
        raise ReservoirError(f"it is written in version {version} of its format, this sparsebp reads {VERSION}")
    header = Header(kind.rstrip(b"\0").decode("latin-1"), features, rows, name_bytes, seed, turn, edition)
    if count != header.size or count > _MOST:
        return None
    data = os.pread(handle, count, place)
    whole, checksum = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    if len(data) < count or _CHECKSUM.unpack(checksum) != (zlib.crc32(whole),):
        return None
    for at in range(_HEAD.size, len(whole), name_bytes + _SEEN.size):
        name = whole[at : at + name_bytes].rstrip(b"\0").decode()
        if not name:
            break
        header.names.append(name)
        header.seen.append(*_SEEN.unpack_from(whole, at + name_bytes))
    return header
