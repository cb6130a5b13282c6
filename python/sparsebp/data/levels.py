"""Black and white of pictures whose samples have more than 8 bits, which no file format settles.

A camera with 12 bits writes 0 to 4095 into files of 16, and floats may count photons or degrees. So what is black and
white is looked up in the pictures of a folder together: scaled one by one, each would have an exposure of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

#: So many pictures of more than 8 bits are looked at, spread evenly over those of the folder.
SURVEYED = 200

_NEARLY = 1 / 16
"""Of the range: what lies closer to an end is hardly told apart."""


@dataclass(frozen=True)
class Levels:
    """Which values are black and white.

    Attributes:
        low, high: these.
        chosen: by a person, hence they count also for a file that says otherwise of itself.
    """

    low: float
    high: float
    chosen: bool = False

    def __post_init__(self) -> None:
        numbers = (self.low, self.high)
        if any(isinstance(n, bool) or not isinstance(n, (int, float)) or not math.isfinite(n) for n in numbers):
            raise ValueError(f"levels: expected two finite numbers, got {self.low!r} and {self.high!r}")
        if not self.low < self.high:
            raise ValueError(f"levels: expected low < high, got {self.low:g} and {self.high:g}")
        object.__setattr__(self, "low", float(self.low))  # as JSON gives them back
        object.__setattr__(self, "high", float(self.high))

    def grey(self, values: np.ndarray) -> np.ndarray:
        """``values`` as uint8: ``low`` and below become 0, ``high`` and above 255."""
        scaled = (values - self.low) * (255 / (self.high - self.low))
        grey: np.ndarray = np.rint(scaled.clip(0, 255)).astype(np.uint8)
        return grey

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def to_list(self) -> list[Any]:
        """What JSON can hold; :meth:`parse` reads it."""
        return [self.low, self.high, self.chosen]

    @classmethod
    def parse(cls, value: Any) -> Levels | None:
        """What :meth:`to_list` gives; a pair of numbers counts as chosen.

        Raises:
            ValueError: anything else.
        """
        if value is None or isinstance(value, cls):
            return value
        if not isinstance(value, (list, tuple)) or len(value) not in (2, 3) or not isinstance(value[-1], (int, float)):
            raise ValueError(f"levels: expected (low, high), got {value!r}")
        return cls(value[0], value[1], bool(value[2]) if len(value) == 3 else True)


@dataclass(frozen=True)
class Survey:
    """What was found in the pictures with more than 8 bits a sample whose files do not say what is black and white.

    Attributes:
        extremes: about the least and the greatest value of each picture that was looked at.
    """

    extremes: tuple[tuple[float, float], ...]

    def fitting(self) -> Levels | None:
        """The levels that suit them all; None without any.

        From 0 to the greatest number of so many bits, or to 1; where the values fill less than half of that, as those
        of a thermal camera do, they themselves are the range.
        """
        if not self.extremes:
            return None
        low, high = min(least for least, _ in self.extremes), max(greatest for _, greatest in self.extremes)
        usual = 1.0 if 0 < high <= 1 else float(2 ** max(8, math.ceil(math.log2(max(high, 1) + 1))) - 1)
        if low >= 0 and (low == high or high - low >= usual / 2):
            return Levels(0, usual)
        return Levels(low, high) if low < high else Levels(low - 1, high)

    def lost(self, levels: Levels) -> int:
        """How many of the pictures are nearly all black or all white at these levels."""
        margin = (levels.high - levels.low) * _NEARLY
        black, white = levels.low + margin, levels.high - margin
        return sum(greatest < black or least > white for least, greatest in self.extremes)
