"""The processes of bench/rivals.py: which contenders can run, and all of them training in turns."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsebp.benchmark.timing import Contender, Effort, Quartiles, interleave

PAUSE = 0.005
"""Seconds before each turn: threads of others that wait for more work, awake, have given up by then."""
SHUT_DOWN = 10.0
"""Seconds for a process to end by itself."""


@dataclass(frozen=True)
class Rival:
    """Somebody who trains.

    Attributes:
        name: as it is printed.
        trains: what of the network.
        way: ``module:class``, what its process makes.
        given: keyword arguments for it, beside the folder and the number of threads.
        python: the interpreter.
        needs: modules, the last of which are the library's.
        install: how one gets it.
    """

    name: str
    trains: str
    way: str
    given: Mapping[str, Any] = field(default_factory=dict)
    python: str = ""
    needs: Sequence[str] = ()
    install: str = ""

    @property
    def title(self) -> str:
        """The name with what it trains: no two are the same."""
        return f"{self.name}, {self.trains}"


@dataclass(frozen=True)
class Outcome:
    """What came of a contender.

    Attributes:
        rival: who.
        wall: milliseconds of a step.
        cpu: milliseconds of all processors in a step, in its process.
        peak: kilobytes of its process, the most that were in memory.
    """

    rival: Rival
    wall: Quartiles
    cpu: Quartiles
    peak: int


def environment(threads: int) -> dict[str, str]:
    """Of a contender's process: this folder's modules, so many threads."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}


def missing(rival: Rival) -> str:
    """Why it cannot run: the error of importing what it needs; empty if nothing is missing."""
    if not rival.needs:
        return ""
    command = [rival.python, "-c", f"import {', '.join(rival.needs)}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(1))
    return (done.stderr.strip().splitlines() or ["it does not import"])[-1] if done.returncode else ""


class Worker:
    """One contender's process.

    Args:
        rival: who.
        folder: what was prepared for it.
        threads: that it computes on.
        in_a_row: steps of a turn.
    """

    def __init__(self, rival: Rival, folder: Path, threads: int, in_a_row: int = 1) -> None:
        self.rival, self.failure = rival, ""
        self._in_a_row = in_a_row
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [rival.python, Path(__file__).with_name("rival_process.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(threads),
        )
        given = {**rival.given, "folder": str(folder), "threads": threads}
        self._ask(json.dumps({"way": rival.way, "given": given}))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(SHUT_DOWN)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def train(self, _: object = None) -> None:
        """Takes the steps of a turn, and notes the milliseconds of one; who has failed takes no further one."""
        found = self._ask(f"train {self._in_a_row}")
        if not self.failure:
            self.wall.append(1e3 * found["wall"])
            self.cpu.append(1e3 * found["cpu"])

    def finish(self, rounds: int) -> Outcome | None:
        """What came of it in the last so many turns; None if it failed, its weights' check included."""
        found = self._ask("finish")
        self.failure = self.failure or found["wrong"]
        if self.failure:
            return None
        return Outcome(self.rival, Quartiles.of(self.wall[-rounds:]), Quartiles.of(self.cpu[-rounds:]), found["peak"])

    def _ask(self, line: str) -> dict[str, Any]:
        """Its answer to a line; empty once it has failed."""
        if self.failure:
            return {}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(line, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        found: dict[str, Any] = json.loads(answer) if answer else {"error": self._last_words()}
        self.failure = found.get("error", "")
        return {} if self.failure else found

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        return f"its process ended with {code}" + (f": {said[-1]}" if said else "")


def _pause() -> None:
    time.sleep(PAUSE)


def measure(
    rivals: Sequence[Rival], folder: Path, threads: int, effort: Effort, in_a_row: int = 1
) -> tuple[list[Outcome], dict[str, str], int]:
    """All train in turns, so many steps each, every round beginning with another one.

    Returns:
        What came of those that trained; why others did not, by their titles; the number of rounds.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(rival, folder, threads, in_a_row)) for rival in rivals]
        contenders = {worker.rival.title: Contender(worker.train, _pause) for worker in workers}
        rounds = len(next(iter(interleave(contenders, effort).values())))
        outcomes = [outcome for worker in workers if (outcome := worker.finish(rounds)) is not None]
        return outcomes, {worker.rival.title: worker.failure for worker in workers if worker.failure}, rounds
