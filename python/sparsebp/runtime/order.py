"""Which pictures the steps of a run train on: a function of seed and step alone, so that a run can go on anywhere."""

from __future__ import annotations

import random


class Order:
    """Every epoch in another order, each picture once.

    Args:
        count: pictures.
        batch: pictures of a step; the last step of an epoch may have fewer.
        seed: of the order.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self._batch, self._seed = count, batch, seed
        self._epoch = -1
        self._indices: list[int] = []

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-self.count // self._batch)

    def rows(self, step: int) -> tuple[list[int], list[int]]:
        """The pictures of a step, and those that stand in, in this order, for what of them cannot be read."""
        epoch, row = divmod(step, self.steps)
        if epoch != self._epoch:
            self._epoch, self._indices = epoch, list(range(self.count))
            random.Random(f"{self._seed}/{epoch}").shuffle(self._indices)
        first, last = row * self._batch, min((row + 1) * self._batch, self.count)
        return self._indices[first:last], self._indices[last:] + self._indices[:first]
