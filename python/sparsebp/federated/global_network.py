"""The server's side of federated rounds, whoever carries the messages: what is global, and what each client lacks."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..files import check_writable
from ..runtime import Session
from .catching_up import CatchUp, Version
from .mean import Mean
from .rounds_file import Round, RoundsFile, beside


@dataclass
class Open:
    """A round that is under way: the mean so far, and what is counted."""

    turn: int
    mean: Mean
    began: float
    failures: int = 0
    bytes_down: int = 0
    bytes_up: int = 0


class GlobalNetwork:
    """The network that clients train together, on the server's disk after each round.

    A round is :meth:`begin`, then :meth:`add` for each reply, then :meth:`merge`. Round after round the next turn's
    update sets train, on all clients the same.

    Args:
        plan: the plan file to begin with. Its sampler draws by seed and turn alone: random, cyclic or static.
        out: the plan file that is written after each round; beside it lies what describes the rounds.
        resume: goes on with the rounds of the same ``out``, if there are any; ``plan`` may be gone then.

    Raises:
        PlanFileError: a plan file is damaged.
        FileExistsError: ``out`` exists, and ``resume`` was not asked for.
        ValueError: the plan's sampler draws by what was trained, ``out`` is no such file, or its rounds began with
            another plan file.
    """

    def __init__(self, plan: str | os.PathLike[str], out: str | os.PathLike[str], *, resume: bool = False) -> None:
        self.out = check_writable(Path(out), "out")
        file = beside(self.out)
        if self.out.exists() and not (resume and file.exists()):
            raise FileExistsError(f"out: {self.out} exists; resume its rounds, or write to another file")
        self.session = Session(self.out if self.out.exists() else plan)
        turn = self.session.progress.turn
        if self.out.exists():
            self.file = RoundsFile.read(file, turn)
            _check_same(Path(plan), self.out, self.file.first)
        else:
            self.file = RoundsFile(file, Version.of_file(plan, turn))
        self.session.hold(turn)
        self._count, self._drawn = len(self.session.get_trainable()), self.session.drawn_numbers
        self._open: Open | None = None
        self._between = 0  # bytes to clients while no round was under way
        self._lacking: dict[Version | None, CatchUp] = {}  # the same for all clients of a version
        if not self.out.exists():
            self._save()

    @property
    def version(self) -> Version:
        """Of the global network."""
        return self.file.last

    # -- a round -------------------------------------------------------------------------------------

    def begin(self) -> int:
        """Begins the next round; the turn that it trains."""
        turn = self.version.turn + 1
        self._open = Open(turn, Mean(self._count), time.monotonic(), bytes_down=self._between)
        self._between = 0
        return turn

    def add(self, values: npt.ArrayLike, examples: float) -> None:
        """One client's reply: what trains at this turn, as :meth:`.Session.get_trainable` has it, after its training.

        Args:
            values: float32.
            examples: pictures that it was trained on; its weight in the mean.

        Raises:
            ValueError, TypeError: it does not fit, or is not finite; it counts as a failure then.
        """
        now = self._now()
        try:
            now.mean.add(values, examples)
        except (ValueError, TypeError):
            now.failures += 1
            raise
        now.bytes_up += np.asarray(values).nbytes

    def fail(self) -> None:
        """A client's reply is an error."""
        self._now().failures += 1

    def merge(self, min_replies: int = 1) -> npt.NDArray[np.float32] | None:
        """Ends the round: the mean of the replies becomes global, and is on the disk.

        With fewer than ``min_replies`` replies nothing changes, None is returned, and the next round trains the same
        turn.
        """
        now, self._open = self._now(), None
        if now.mean.replies < max(1, min_replies):
            self._between += now.bytes_down
            return None
        merged = now.mean.result()
        self.session.hold(now.turn)
        self.session.set_trainable(merged)
        self.file.rounds.append(
            Round(
                now.turn,
                self.version.after(now.turn, merged).mark,
                now.mean.replies,
                now.failures,
                now.mean.weight,
                now.bytes_down,
                now.bytes_up,
                round(time.monotonic() - now.began, 3),
            )
        )
        self._save()
        return merged

    def replace(self, values: npt.NDArray[np.float32]) -> None:
        """Puts other numbers in place of those that the last round has merged, such as the same with noise.

        Raises:
            ValueError: they do not fit, or no round was merged.
        """
        if not self.file.rounds:
            raise ValueError("replace: no round was merged yet")
        self.session.set_trainable(values)
        last = self.file.rounds.pop()
        mark = self.version.after(last.turn, np.ascontiguousarray(values)).mark
        self.file.rounds.append(Round(**{**vars(last), "mark": mark}))
        self._save()

    # -- what clients lack ---------------------------------------------------------------------------

    def catch_up(self, version: Version | None) -> CatchUp:
        """What a client of this version lacks: the rows of the rounds since, or all where that is not more bytes.

        Args:
            version: what the client has; None if nothing is known of it.
        """
        since = None if version is None else self.file.since(version)
        if since is None or self._bytes(len(since) - 1) >= self.session.sizes.file_bytes:
            version = None
        if version not in self._lacking:
            self._lacking[version] = self._make(None if version is None else since)
        size = self._lacking[version].size
        if self._open is None:
            self._between += size
        else:
            self._open.bytes_down += size
        return self._lacking[version]

    def _make(self, since: list[Version] | None) -> CatchUp:
        if since is None:
            return CatchUp(self.version, file=self.out.read_bytes())
        turns = [version.turn for version in since[1:]]
        return CatchUp(self.version, tuple(since), tuple(turns), self._numbers(turns))

    def _bytes(self, turns: int) -> int:
        return 4 * (self._count + self._drawn * (turns - 1)) if turns else 0

    def _numbers(self, turns: list[int]) -> bytes:
        """The global rows of these turns' sets, then what trains at every turn."""
        if not turns:
            return b""
        pieces = []
        for turn in turns:
            self.session.hold(turn)
            pieces.append(self.session.get_trainable()[: self._drawn])
        self.session.hold(self.version.turn)
        pieces.append(self.session.get_trainable()[self._drawn :])
        return b"".join(piece.tobytes() for piece in pieces)

    def _now(self) -> Open:
        if self._open is None:
            raise RuntimeError("rounds: none has begun; call begin first")
        return self._open

    def _save(self) -> None:
        self._lacking.clear()
        self.file.write()
        self.session.save(self.out)


def _check_same(plan: Path, out: Path, first: Version) -> None:
    """Raises ValueError if there is a plan file, and the rounds of ``out`` began with another one."""
    if plan.exists() and not plan.samefile(out) and Version.of_file(plan, first.turn) != first:
        raise ValueError(
            f"plan: the rounds of {out} began with another plan file than {plan}; give that one, or another out"
        )
