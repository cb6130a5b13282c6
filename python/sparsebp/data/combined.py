"""Sources made of others, and what is asked of these through them."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from .broken import BrokenPicture
from .digests import sha256
from .levels import SURVEYED, Levels, Survey
from .sources import Files, PictureFiles, Source, check_index, check_integers

if TYPE_CHECKING:
    from .pictures import Picture

S = TypeVar("S", bound=Source)


class _Elsewhere:
    """Pictures that lie in other sources, where ``place`` says."""

    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        source, inside = self.place(index)
        return source.name(inside)

    def picture(self, index: int) -> Picture:
        source, inside = self.place(index)
        return source.picture(inside)

    def place(self, index: int) -> tuple[Source, int]:
        """Where a picture comes from, and its index there."""
        raise NotImplementedError


class Subset(_Elsewhere):
    """Some pictures of a source, in a given order."""

    def __init__(self, source: Source, indices: npt.ArrayLike) -> None:
        chosen = check_integers("indices", indices)
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(source)):
            raise ValueError(f"indices: expected 0 to {len(source) - 1}, got {chosen.min()} to {chosen.max()}")
        self.source = source
        self.indices = chosen
        self.labels = source.labels[chosen]

    def place(self, index: int) -> tuple[Source, int]:
        """Where a picture comes from, and its index there."""
        return self.source, int(self.indices[check_index(self, index)])

    def fingerprint(self) -> str:
        return sha256(self.source.fingerprint().encode() + self.indices.tobytes()).hexdigest()


class Joined(_Elsewhere):
    """The pictures of two sources, one after the other."""

    def __init__(self, first: Source, second: Source) -> None:
        self.parts = (first, second)
        self.labels = np.concatenate([first.labels, second.labels])

    def fingerprint(self) -> str:
        return sha256("".join(part.fingerprint() for part in self.parts).encode()).hexdigest()

    def place(self, index: int) -> tuple[Source, int]:
        """Where a picture comes from, and its index there."""
        before = len(self.parts[0])
        return (self.parts[0], index) if check_index(self, index) < before else (self.parts[1], index - before)


class Repeated(_Elsewhere):
    """The pictures of a source several times over; picture ``p`` is number ``p % len(source)`` of the source."""

    def __init__(self, source: Source, times: int) -> None:
        self.source = source
        self.times = times
        self.labels = np.tile(source.labels, times)

    def place(self, index: int) -> tuple[Source, int]:
        """Where a picture comes from, and its index there."""
        return self.source, check_index(self, index) % len(self.source)

    def fingerprint(self) -> str:
        return sha256(f"{self.times} {self.source.fingerprint()}".encode()).hexdigest()


def at_levels(source: S, levels: Levels | None) -> S:
    """``source`` with these levels for its pictures of more than 8 bits; as it is where they are None."""
    if levels is None:
        return source
    changed: Any = copy.copy(source)
    if isinstance(source, PictureFiles):
        changed.levels = levels
    elif isinstance(source, (Subset, Repeated)):
        changed.source = at_levels(source.source, levels)
    elif isinstance(source, Joined):
        changed.parts = tuple(at_levels(part, levels) for part in source.parts)
    found: S = changed
    return found


def survey(source: Source) -> Survey:
    """Looks at the pictures of more than 8 bits."""
    places = [_place(source, index) for index in range(len(source))]
    deep = [(part, index) for part, index in places if isinstance(part, PictureFiles) and part.is_deep(index)]
    spread = np.linspace(0, len(deep) - 1, min(len(deep), SURVEYED)).astype(np.int64)
    found: list[tuple[float, float]] = []
    for part, index in (deep[i] for i in spread):
        with suppress(BrokenPicture):  # who reads it will be told
            pair = part.extremes(index)
            found += [pair] if pair is not None and np.isfinite(pair).all() else []
    return Survey(tuple(found))


def keys_of(source: Source) -> npt.NDArray[np.int64] | None:
    """The keys of a source's pictures, see :meth:`Files.keys`; None where they have no names to be known by."""
    if isinstance(source, Files):
        return source.keys()
    if isinstance(source, Subset):
        whole = keys_of(source.source)
        return None if whole is None else whole[source.indices]
    if isinstance(source, Joined):
        parts = [keys_of(part) for part in source.parts]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    return None


def has_keys(source: Source) -> bool:
    """Whether there are :func:`keys_of` a source."""
    if isinstance(source, Joined):
        return all(map(has_keys, source.parts))
    return isinstance(source, Files) or (isinstance(source, Subset) and has_keys(source.source))


def _place(source: Source, index: int) -> tuple[Source, int]:
    """The source that a picture comes from, and its index there."""
    while isinstance(source, (Subset, Joined)):
        source, index = source.place(index)
    return source, index
