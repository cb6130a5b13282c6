"""How large the steps of each round are."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine(rounds: int) -> Callable[[int], float]:
    """A factor of the plan's rates by the number of rounds behind: half a cosine from nearly 1 to nearly 0.

    Args:
        rounds: of the whole training; later ones have the last one's.
    """
    if not rounds >= 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    return lambda behind: (1 + math.cos(math.pi * (min(behind, rounds - 1) + 0.5) / rounds)) / 2
