"""How much one of several counts in a mean."""

from __future__ import annotations

from numbers import Real
from typing import Any

LEAST, MOST = 1e-15, 1e15
"""With weights between these a mean of float32 numbers, in double precision, neither overflows nor loses its bits."""


def checked_weight(name: str, given: object) -> float:
    """A weight, as a float.

    Raises:
        TypeError: it is no number.
        ValueError: it is not above 0, or so large or small that sums would overflow.
    """
    if not isinstance(given, Real) or isinstance(given, bool):
        raise TypeError(f"{name}: expected a number, got {given!r}")
    weight: Any = given  # of whatever kind; mypy knows of no Real that can be compared
    if not LEAST <= weight <= MOST:
        raise ValueError(f"{name}: expected a number above 0, from {LEAST:g} to {MOST:g}, got {given}")
    return float(weight)
