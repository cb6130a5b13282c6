"""What a server writes beside the global plan file, so that it can go on after a kill: ``OUT.rounds.json``.

It is written before the plan file of the same round. So after a kill it may know of a round more than the plan file,
whose turn counts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..files import write_atomically
from .catching_up import Version

FORMAT = "sparsebp-rounds"


@dataclass(frozen=True)
class Round:
    """What a round came to.

    Attributes:
        turn: of the draw that it trained.
        mark: of the global network after it.
        replies: that were merged.
        failures: replies that were errors or did not fit.
        examples: pictures that the merged replies were trained on, each counted once.
        bytes_down, bytes_up: of weights, to and from the clients.
        seconds: from its begin to its end.
    """

    turn: int
    mark: str
    replies: int = 0
    failures: int = 0
    examples: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0
    seconds: float = 0.0

    @property
    def version(self) -> Version:
        """Of the global network after it."""
        return Version(self.turn, self.mark)


@dataclass
class RoundsFile:
    """The rounds so far.

    Attributes:
        path: of this file.
        first: version of the plan file that they began with.
        rounds: those that are merged, oldest first.
    """

    path: Path
    first: Version
    rounds: list[Round] = field(default_factory=list)

    @property
    def last(self) -> Version:
        """The version of now."""
        return self.rounds[-1].version if self.rounds else self.first

    def since(self, version: Version) -> list[Version] | None:
        """The versions from this one on to the one of now; None if these rounds do not know it."""
        known = [self.first, *(r.version for r in self.rounds)]
        return known[known.index(version) :] if version in known else None

    def write(self) -> None:
        """Puts it on the disk, whole or not at all."""
        data = {"first": asdict(self.first), "rounds": [asdict(r) for r in self.rounds]}
        write_atomically(self.path, json.dumps({"format": FORMAT, "version": 1, **data}, indent=1).encode())

    @classmethod
    def read(cls, path: Path, turn: int) -> RoundsFile:
        """What :meth:`write` wrote, up to a turn.

        Raises:
            ValueError: it is something else, or damaged.
        """
        try:
            data = json.loads(path.read_bytes())
            if not isinstance(data, dict) or data.get("format") != FORMAT:
                raise ValueError("it is no file of federated rounds")
            if data.get("version") != 1:
                raise ValueError("a newer version wrote it; take a newer sparsebp")
            found = cls(path, Version(**data["first"]), [Round(**r) for r in data["rounds"]])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: {error}; remove it to begin anew") from error
        found.rounds = [r for r in found.rounds if r.turn <= turn]
        if found.last.turn != turn:
            raise ValueError(
                f"{path}: it ends with turn {found.last.turn}, the plan file beside it with {turn}; remove both "
                "to begin anew, or put the file back that belongs to it"
            )
        return found


def beside(out: Path) -> Path:
    """Where the rounds of a global plan file are described."""
    return out.with_name(f"{out.name}.rounds.json")
