"""Features of earlier pictures on a disk, to be trained on again so that what was learned stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ..errors import ReservoirError
from ..files import as_path
from ..units import parse_bytes
from . import arrays
from .balance import FREE, Balance
from .draws import Draws
from .encoding import KINDS, Features, largest_error
from .reservoir_header import Header
from .session import Session
from .slot_file import NO_CLASS, SlotFile, size_of, slots_of

_NAME_BYTES = 64
"""A new class's name has fewer."""


class Reservoir:
    """A bounded number of pictures, as the features that a session's frozen prefix makes of them, kept by class.

    Every class has the same share in the end, and of a class each picture that was ever seen the same chance to be kept
    (:class:`.balance.Balance`). A kill or a power cut costs the picture that was being written, if any. A file is open
    once, by one process.
    """

    def __init__(self, file: SlotFile, session: Session) -> None:
        self._file, self._session = file, session
        self._draws = Draws(file.header.seed, file.header.turn)
        rows = np.array([file.row(slot) for slot in range(1, file.slots)], np.int64)
        rows[rows >= len(file.header.names)] = FREE
        self._balance = Balance(rows, file.header.seen, self._draws)

    @classmethod
    def open(
        cls,
        path: str | Path,
        limit: int | str,
        session: Session,
        *,
        kind: str | None = None,
        seed: int = 0,
    ) -> Reservoir:
        """Opens a reservoir, or makes a new one where there is no file.

        Args:
            path: of its file.
            limit: bytes that the file never exceeds, such as ``"8MB"``. One that had fewer grows; one that had more
                shrinks, and loses pictures of its largest classes.
            session: whose features it keeps.
            kind: ``"uint8"``, with a scale and an offset of each picture, or ``"float16"``, which takes twice the room.
                By default what the file has, and uint8 in a new one.
            seed: of a new file's random numbers.

        Raises:
            ReservoirError: the file is damaged, foreign, of a newer version, or holds features of another network; or
                another process has it open.
            OSError: the disk is full, or the file cannot be read or written.
            TypeError, ValueError: an argument is wrong; ``limit`` is too small for a picture of each class.
        """
        place = as_path(path, "path")
        most = parse_bytes(limit, "reservoir")
        if kind is not None and kind not in KINDS:
            raise ValueError(f"kind: expected {' or '.join(KINDS)}, got {kind!r}")
        known = session.features(_test_picture(session))[0]
        if place.exists():
            file = SlotFile.open(place)
            try:
                _check_same(file, known, kind)
                made = cls(file, session)
                made._resize(_slots(file.header, most))
            except BaseException:
                file.close()
                raise
            return made
        header = Header(kind or "uint8", len(known), session.sizes.outputs, _name_bytes(session), seed)
        return cls(SlotFile.create(place, header, _slots(header, most), known), session)

    # -- pictures ----------------------------------------------------------------------------------

    def add(self, features: npt.ArrayLike, labels: npt.ArrayLike) -> int:
        """Offers pictures to keep.

        Args:
            features: float32 [N, features], as :meth:`.Session.features` makes them.
            labels: [N], the session's.

        Returns:
            How many of them are kept.

        Raises:
            TypeError, ValueError: an array has another shape or type; nothing was kept.
            ReservoirError: there is no room for another class.
            OSError: the disk is full; what was kept before is there, but for the picture that was to be replaced.
        """
        given = arrays.features(features, self._session.sizes)
        targets = arrays.labels(labels, len(given), self._session.sizes)
        if not np.isfinite(given).all():
            raise ValueError("features: expected finite numbers")
        names = class_names(self._session)
        return sum(self._add(picture, names[label]) for picture, label in zip(given, targets, strict=True))

    def draw(self, count: int) -> tuple[Features, npt.NDArray[np.int32]]:
        """Features and labels of up to ``count`` different pictures, each as likely as any other.

        Fewer, if there are no more of classes that the session knows, or if some turn out to be damaged; these are
        never drawn again. Only what is drawn is read.
        """
        number = {name: label for label, name in enumerate(class_names(self._session))}
        labels = np.array([number.get(name, -1) for name in self._file.header.names] + [-1])  # the last: of no row
        places = np.flatnonzero(labels[self._balance.rows] >= 0)
        found: list[tuple[Features, int]] = []
        for chosen in self._draws.some(count, len(places)):
            place = int(places[chosen])
            kept = self._file.read(place + 1)
            if kept is None or kept.row != self._balance.rows[place]:
                self._balance.rows[place] = FREE
            else:
                found.append((kept.features, int(labels[kept.row])))
        out = np.empty((len(found), self._session.sizes.features), np.float32)
        for row, (features, _) in zip(out, found, strict=True):
            row[:] = features
        return out, np.array([label for _, label in found], np.int32)

    @property
    def kept(self) -> dict[str, int]:
        """Pictures of each class that are kept."""
        return dict(zip(self._file.header.names, self._balance.counts().tolist(), strict=True))

    @property
    def seen(self) -> dict[str, int]:
        """Pictures of each class that were offered."""
        return dict(zip(self._file.header.names, self._file.header.seen, strict=True))

    @property
    def capacity(self) -> int:
        """Pictures that there is room for."""
        return len(self._balance.rows)

    @property
    def kind(self) -> str:
        """How features are stored."""
        return self._file.header.kind

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    def sync(self) -> None:
        """Waits until everything is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        self._file.sync()

    def close(self) -> None:
        """Gives the file to others."""
        self._file.close()

    def __enter__(self) -> Reservoir:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- which ones ----------------------------------------------------------------------------------

    def _add(self, picture: Features, name: str) -> bool:
        header = self._file.header
        if name not in header.names:
            try:
                header.add(name)
            except ReservoirError as error:
                raise ReservoirError(f"{self._file.path}: {error}; remove it to begin anew") from None
            self._file.write_header()
            self._file.sync()  # before a slot that says it is of this class
        row = header.names.index(name)
        place = self._balance.place_for(row)
        if place is not None:
            self._balance.rows[place] = FREE  # until it is written
            self._file.write(place + 1, row, picture)
            self._balance.rows[place] = row
        header.seen[row] += 1
        header.turn = self._draws.turn
        self._file.write_header()
        return place is not None

    def _resize(self, slots: int) -> None:
        """Gives the file so many slots; what has to go is drawn from the largest classes."""
        rows, capacity = self._balance.rows, slots - 1
        while np.count_nonzero(rows >= 0) > capacity:
            place = self._balance.one_of_the_largest()
            self._file.erase(place + 1)
            rows[place] = FREE
        beyond = np.flatnonzero(rows[capacity:] >= 0) + capacity
        for place, free in zip(beyond.tolist(), self._balance.free().tolist(), strict=False):  # low ones come first
            self._file.move(place + 1, free + 1)
            rows[free] = rows[place]
        if self._file.slots != slots:
            self._file.resize(slots)
        self._balance.rows = np.append(rows[:capacity], np.full(max(0, capacity - len(rows)), FREE))


def class_names(session: Session) -> Sequence[str]:
    """The names of a session's classes; their numbers where they have none."""
    return session.classes or [str(number) for number in range(session.sizes.classes)]


def _name_bytes(session: Session) -> int:
    return max(_NAME_BYTES, *(len(name.encode()) for name in class_names(session)))


def _slots(header: Header, limit: int) -> int:
    """Slots of a file of so many bytes; the first holds the test picture."""
    slots, least = slots_of(header, limit), header.rows + 1
    if slots < least:
        raise ValueError(
            f"reservoir: expected at least {size_of(header, least)} bytes, for a picture of each of {header.rows} "
            f"classes, got {limit}"
        )
    return slots


def _test_picture(session: Session) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Noise, always the same: what a network makes of it tells it from others."""
    sizes = session.sizes
    count = sizes.height * sizes.width * sizes.channels
    noise = (np.arange(count, dtype=np.uint32) * np.uint32(2654435761) >> np.uint32(24)).astype(np.uint8)
    picture = noise.reshape(1, sizes.height, sizes.width, sizes.channels)
    return picture if "preprocess" in session.metadata else (picture / 127.5 - 1).astype(np.float32)


def _check_same(file: SlotFile, known: Features, kind: str | None) -> None:
    """Raises unless a file holds features of the network that makes ``known`` of the test picture."""
    header, advice = file.header, "give another file, or remove it to begin anew"
    if kind is not None and header.kind != kind:
        raise ReservoirError(f"{file.path}: it keeps features as {header.kind}, not as {kind}; {advice}")
    if header.features != len(known):
        raise ReservoirError(
            f"{file.path}: it is of another network, which makes {header.features} features of a picture, this one "
            f"makes {len(known)}; {advice}"
        )
    first = file.read(0)
    if first is None or first.row != NO_CLASS:
        raise ReservoirError(f"{file.path}: it is damaged, what tells its network is not whole; {advice}")
    if np.abs(first.features - known).max() > largest_error(first.features, header.kind, first.step):
        raise ReservoirError(f"{file.path}: it is of another network, or of other frozen weights; {advice}")
