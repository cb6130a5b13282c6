"""A process that trains alone, as what works with several ranks sees it."""

from __future__ import annotations

from typing import TypeVar

import torch

from .shard import Shard

T = TypeVar("T")


class Alone:
    """One process, which has nobody to ask: see :class:`.Ranks`."""

    rank, size, first, on_this_machine = 0, 1, True, 1
    shard = Shard()

    def sum(self, numbers: torch.Tensor) -> None:
        """Leaves them."""

    def gather(self, value: T) -> list[T]:
        """Its own."""
        return [value]

    def from_first(self, value: T) -> T:
        """Its own."""
        return value

    def mean(self, value: float, weight: float) -> float | None:
        """Its own, to the bit."""
        return value if weight else None
