"""The learning rate over a run: a share of the full rate as a function of how much is done."""

from __future__ import annotations

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}
"""Share of the full rate when the share ``done`` of the run after the warm-up is behind."""


def rate_factor(schedule: str, done: float, warmup: float = 0.0) -> float:
    """Share of the full learning rate.

    It keeps no state: a run that is resumed needs to know how far it is, nothing else.

    Args:
        schedule: one of :data:`SCHEDULES`.
        done: share of the run's steps that are done, in [0, 1].
        warmup: share of the run during which the rate rises from zero in a straight line.
    """
    if done < warmup:
        return done / warmup
    return SCHEDULES[schedule]((done - warmup) / (1 - warmup))
