"""One contender of bench/rivals.py, in a process of its own: takes a step whenever it is told to.

The first line of standard input is a request as JSON: ``way``, a module and a class in it, and ``given``, its keyword
arguments. Each further line is ``step`` or ``finish``; each is answered by a line of JSON on standard output. Needs the
standard library only, so that any Python runs it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol


class Way(Protocol):
    """How a contender trains.

    Attributes:
        trained: names of the weights that must change in training, and no other may.
    """

    trained: set[str]

    def step(self) -> None:
        """Trains once: forward, loss, backward, update."""

    def weights(self) -> Iterable[tuple[str, Any]]:
        """All weights by name, as bytes or arrays."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**found: object) -> None:
        print(json.dumps(found), file=answers, flush=True)

    try:
        request = json.loads(sys.stdin.readline())
        module, _, name = request["way"].partition(":")
        way: Way = getattr(importlib.import_module(module), name)(**request["given"])
        before = checksums(way)
        answer(ready=True)
        for line in sys.stdin:
            what, _, count = line.strip().partition(" ")
            if what == "train":
                answer(**train(way, int(count)))
            else:
                answer(peak=peak(), wrong=wrong(way, before))
                break
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")


def train(way: Way, steps: int) -> dict[str, float]:
    """Seconds of a step, mean of some in a row, and of the processors in this process, user's and system's."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(steps):
        way.step()
    return {"wall": (time.perf_counter() - wall) / steps, "cpu": (time.process_time() - cpu) / steps}


def peak() -> int:
    """Kilobytes: the most of this process that ever was in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def checksums(way: Way) -> dict[str, int]:
    """Of each weight; a checksum takes no memory that would count as the contender's."""
    return {name: zlib.crc32(bytes(weight)) for name, weight in way.weights()}


def wrong(way: Way, before: dict[str, int]) -> str:
    """What is wrong with the weights after training; empty if all that train have changed, and no other."""
    after = checksums(way)
    changed = {name for name in after if after[name] != before[name]}
    still, touched = sorted(way.trained - changed), sorted(changed - way.trained)
    if still:
        return f"{len(still)} of {len(way.trained)} weights that train did not change, {still[0]} among them"
    if touched:
        return f"{len(touched)} frozen weights changed, {touched[0]} among them"
    return "" if way.trained else "nothing trains"


if __name__ == "__main__":
    main()
