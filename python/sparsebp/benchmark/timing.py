"""Interleaved timing of several ways to do one thing."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

WARM_UP_ROUNDS = 2
"""The first round builds programs and lets torch choose its primitives, the second fills the caches."""
LEAST_ROUNDS = 3
"""Fewer have no median worth the name."""
IN_A_ROW = 10
"""Steps at a turn where training is timed. A single one finds the caches that others filled, and threads that sleep;
in a training loop it is one step's own memory that the next one finds."""

Name = TypeVar("Name")


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: of each contender, at most, after ``WARM_UP_ROUNDS`` that are not counted.
        seconds: after which no further round starts: a slow machine gets fewer rounds, not a longer run. For
            ``LEAST_ROUNDS`` there is twice the time, and there is always one.
        in_a_row: runs of a contender at its turn, of which the mean counts.
    """

    rounds: int = 11
    seconds: float = math.inf
    in_a_row: int = 1


@dataclass(frozen=True)
class Contender:
    """One way to do the work: ``run(prepare())``, of which only ``run`` is timed."""

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Quartiles:
    """The middle of several measurements and how far they lie apart, in the unit of the measurements."""

    q1: float
    median: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        """Of at least one value; between two of them the quartiles are interpolated."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    @property
    def spread(self) -> float:
        """Half the interquartile range: half of the measurements lie about so close to the median."""
        return (self.q3 - self.q1) / 2

    def text(self, decimals: int, factor: float = 1.0) -> str:
        """``12.3 ±0.4``: the median and the spread, in a unit of which there are ``factor`` in ours."""
        return f"{factor * self.median:.{decimals}f} ±{factor * self.spread:.{decimals}f}"


def interleave(
    contenders: Mapping[Name, Contender], effort: Effort, between: Callable[[], object] = lambda: None
) -> dict[Name, list[float]]:
    """Milliseconds of every contender in every round; ``between`` is called after each.

    A round gives each contender a turn and starts with another one than the round before, so that whatever slows
    the machine down for a while, or whoever leaves the caches cold, hits all of them alike.
    """
    names = list(contenders)
    times: dict[Name, list[float]] = {name: [] for name in names}
    begin = time.perf_counter()
    for turn in range(-WARM_UP_ROUNDS, effort.rounds):
        spent = time.perf_counter() - begin
        if turn > 0 and spent > effort.seconds * (1 if turn >= LEAST_ROUNDS else 2):
            break
        if -WARM_UP_ROUNDS < turn < 0 and spent > effort.seconds:
            continue
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            run, prepare = contenders[name].run, contenders[name].prepare
            elapsed = statistics.fmean(milliseconds(run, prepare()) for _ in range(effort.in_a_row))
            if turn >= 0:
                times[name].append(elapsed)
        if turn >= 0:
            between()
    return times


def milliseconds(run: Callable[..., object], *arguments: Any) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    run(*arguments)
    return 1e3 * (time.perf_counter() - begin)


def geometric_mean(ratios: Iterable[float]) -> float:
    """The mean that does not care which of the two sides of a ratio is on top."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))
