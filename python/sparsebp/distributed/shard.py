"""Which pictures of a batch are one rank's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """A rank's part of what all ranks do together: micro-batches are dealt out one by one, as cards are.

    So the ranks' micro-batches, taken in turn, are those of one process that does all of them in order.

    Attributes:
        rank: from 0.
        size: how many ranks there are.
    """

    rank: int = 0
    size: int = 1

    def of(self, items: Sequence[T], micro_batch: int = 1) -> list[T]:
        """The part of a batch that is this rank's; it may be empty.

        Args:
            items: the whole batch.
            micro_batch: how many go through the network together.
        """
        begins = range(self.rank * micro_batch, len(items), self.size * micro_batch)
        return [item for begin in begins for item in items[begin : begin + micro_batch]]
