"""What a client lacks of the global network, and which one it has: the words that server and client exchange."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.digests import sha256


@dataclass(frozen=True)
class Version:
    """A state of the global network.

    Attributes:
        turn: of the draw that the last merged round trained.
        mark: a digest of how it came about: of the plan file that the rounds began with, then of the mark before and of
            what was merged. Two networks of the same turn have the same mark only if they are the same.
    """

    turn: int
    mark: str

    @classmethod
    def of_file(cls, plan: str | os.PathLike[str], turn: int) -> Version:
        """That of a plan file from which rounds begin."""
        digest = sha256()
        with open(plan, "rb") as stream:
            while piece := stream.read(2**20):
                digest.update(piece)
        return cls(turn, digest.hexdigest())

    def after(self, turn: int, merged: npt.NDArray[np.float32]) -> Version:
        """The next one, when the numbers of a round's mean are in the network."""
        return Version(turn, sha256(bytes.fromhex(self.mark) + merged.tobytes()).hexdigest())


@dataclass(frozen=True)
class CatchUp:
    """What makes the network of a client the global one of ``now``.

    Attributes:
        now: what it is then.
        bases: what it may be before: rounds that the server knows, each with its successor. None with a whole file.
        turns: the rounds after the first of these.
        numbers: float32, the rows of these turns' sets one after the other, then what trains at every turn.
        file: a whole plan file instead.
    """

    now: Version
    bases: tuple[Version, ...] = ()
    turns: tuple[int, ...] = ()
    numbers: bytes = field(default=b"", repr=False)
    file: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        """Bytes of weights."""
        return len(self.file) + len(self.numbers)

    def to_record(self) -> dict[str, Any]:
        """As values that a Flower ``ConfigRecord`` takes."""
        record: dict[str, Any] = {"now-turn": self.now.turn, "now-mark": self.now.mark}
        if self.file:
            return {**record, "file": self.file}
        bases = {"base-turns": [v.turn for v in self.bases], "base-marks": [v.mark for v in self.bases]}
        return {**record, **bases, "turns": [*self.turns], "numbers": self.numbers}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CatchUp:
        """What :meth:`to_record` made values of.

        Raises:
            ValueError: one is missing.
        """
        try:
            now = Version(record["now-turn"], record["now-mark"])
            if "file" in record:
                return cls(now, file=record["file"])
            bases = tuple(map(Version, record["base-turns"], record["base-marks"]))
            return cls(now, bases, tuple(record["turns"]), record["numbers"])
        except KeyError as error:
            raise ValueError(
                f"the server's message says nothing of {error}; expected one of sparsebp.federated.SparseFedAvg"
            ) from error
