"""Interleaved timing of several ways to do one thing."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WARM_UP_ROUNDS = 2
"""The first round builds programs and lets torch choose its primitives, the second fills the caches."""
LEAST_ROUNDS = 3
"""Fewer have no median worth the name."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work: ``run(prepare())``, of which only ``run`` is timed."""

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None


def interleave(contenders: Mapping[str, Contender], rounds: int, seconds: float = math.inf) -> dict[str, list[float]]:
    """Milliseconds of every contender in every round.

    A round runs each contender once and starts with another one than the round before, so that whatever slows
    the machine down for a while, or whoever leaves the caches cold, hits all of them alike. After ``seconds``
    no further round starts, but there are ``LEAST_ROUNDS`` of them, or ``rounds`` if that is less.
    """
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    for turn in range(-WARM_UP_ROUNDS, rounds):
        if turn >= LEAST_ROUNDS and time.perf_counter() > end:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            state = contenders[name].prepare()
            begin = time.perf_counter()
            contenders[name].run(state)
            elapsed = time.perf_counter() - begin
            if turn >= 0:
                times[name].append(1e3 * elapsed)
    return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of every contender."""
    return {name: statistics.median(values) for name, values in times.items()}


def geometric_mean(ratios: Iterable[float]) -> float:
    """The mean that does not care which of the two sides of a ratio is on top."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))
