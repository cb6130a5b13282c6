"""What a client learns from, and how a session takes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..data.digests import sha256
from ..runtime.facts import Step

if TYPE_CHECKING:
    from ..data.sources import Source
    from ..runtime import Session


class Pixels(Protocol):
    """Pictures that are asked for by their numbers: an array, or what reads them from files."""

    def __len__(self) -> int: ...
    def __getitem__(self, indices: Any, /) -> Any: ...


@dataclass(frozen=True)
class Examples:
    """What a client learns from.

    Attributes:
        pixels: indexed by a list of numbers, uint8 or float32 [N, H, W, C] as :meth:`.Session.train` takes them.
        labels: [N] in [0, classes).
        features: ``pixels`` are what :meth:`.Session.features` made of pictures instead, float32 [N, features].

    Raises:
        ValueError: there are not as many labels as pixels.
    """

    pixels: Pixels
    labels: Sequence[int] | npt.NDArray[Any]
    features: bool = False

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.labels):
            raise ValueError(f"labels: expected one for each of {len(self.pixels)} pictures, got {len(self.labels)}")

    def fingerprint(self) -> str:
        """A hex digest of labels and pictures; of pixels that say nothing of themselves only their number is in it."""
        digest = sha256(f"{len(self.labels)}/".encode() + np.asarray(self.labels, np.int64).tobytes())
        if isinstance(self.pixels, np.ndarray):
            digest.update(np.ascontiguousarray(self.pixels).data)
        elif (of_pixels := getattr(self.pixels, "fingerprint", None)) is not None:
            digest.update(of_pixels().encode())
        return digest.hexdigest()

    def train(self, session: Session, rows: list[int]) -> Step:
        """One step on the pictures of these numbers."""
        call = session.train_features if self.features else session.train
        return call(self.pixels[rows], np.asarray(self.labels)[rows])

    def evaluate(self, session: Session, at_once: int = 64) -> Step:
        """Loss and recognised pictures, of all, without training.

        Args:
            session: with the network.
            at_once: pictures in memory at a time.
        """
        call = session.evaluate_features if self.features else session.evaluate
        labels = np.asarray(self.labels)
        loss, correct, count = 0.0, 0, len(labels)
        for first in range(0, count, at_once):
            rows = list(range(first, min(first + at_once, count)))
            found = call(self.pixels[rows], labels[rows])
            loss, correct = loss + found.loss * len(rows) / count, correct + found.correct
        return Step(loss, correct, 0)

    @classmethod
    def of_source(cls, session: Session, source: Source, numbers: Iterable[int] | None = None) -> Examples:
        """Pictures of a data set, fitted as the plan says whenever they are asked for; none is kept in memory.

        Args:
            session: with the plan, whose classes are in the order of the source's labels.
            source: such as ``sparsebp.data.open_dataset(path).train``.
            numbers: of the pictures that belong to the client; all if not given.

        Raises:
            ValueError: the plan was exported without preprocessing.
        """
        own = np.arange(len(source)) if numbers is None else np.asarray(list(numbers), np.int64)
        return cls(_Fitted(session, source, own), source.labels[own])


class _Fitted:
    def __init__(self, session: Session, source: Source, own: npt.NDArray[np.int64]) -> None:
        from ..runtime.pictures import Reader  # which loads what reads pictures

        self._reader, self._source, self._own = Reader(session), source, own

    def __len__(self) -> int:
        return len(self._own)

    def fingerprint(self) -> str:
        return sha256(self._source.fingerprint().encode() + self._own.tobytes()).hexdigest()

    def __getitem__(self, indices: Any, /) -> npt.NDArray[np.uint8]:
        return np.stack([self._reader.of(self._source, int(i)) for i in self._own[indices]])
