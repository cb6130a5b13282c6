"""The order in which the pictures of an epoch are learned from, also where some came or went since it began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .balance import MOST_TIMES, copies

Integers = npt.NDArray[np.int64]
_GONE = -1
_JOINED = 2  # keeps the numbers of a mixture apart from those of an epoch's order


@dataclass(frozen=True)
class Change:
    """How the pictures differ from those that a run was stopped with.

    Attributes:
        new, gone: training pictures that came and went.
        epoch: in which the new ones are learned from first, counted from 1; None if no epoch is left for them.
        tests: test pictures now.
    """

    new: int
    gone: int
    epoch: int | None
    tests: int


class Order:
    """Which picture comes when in the current epoch: a function of seed, epoch and the list of pictures.

    Where classes are balanced, a picture may come several times, under numbers that are ``count`` apart.

    Args:
        count: training pictures.
        batch: pictures of a step.
        seed: of the order.
        keys: by which pictures are known when their list has changed, int64 [count]; None if they are not.
        labels: of the pictures, if their classes are to be equally frequent.
    """

    def __init__(
        self, count: int, batch: int, seed: int, keys: Integers | None, labels: Integers | None = None
    ) -> None:
        self._count = count
        self._batch = batch
        self._seed = seed
        self._keys = keys
        self._labels = labels
        self.begin(0)

    @property
    def steps(self) -> int:
        """Batches of the epoch; the last may be smaller."""
        return -(-len(self._indices) // self._batch)

    @property
    def keys(self) -> Integers | None:
        """Of the epoch's pictures, in their order: all that :meth:`resume` needs."""
        return self._order

    def begin(self, epoch: int) -> None:
        """Draws the order of an epoch."""
        places = self._count if self._labels is None else copies(self._labels, self._seed, epoch)
        self._indices: Integers = np.random.default_rng((self._seed, epoch)).permutation(places)
        self._order = None if self._keys is None else self._keys[self._indices % self._count]

    def end(self, earlier: Integers) -> None:
        """The run was over with these keys: nothing joins it any more."""
        self._order = earlier

    def rows(self, first: int) -> list[list[int]]:
        """Pictures of each step from number ``first`` on."""
        left, size = self._indices[first * self._batch :], self._batch
        return [left[i : i + size].tolist() for i in range(0, len(left), size)]

    def resume(self, earlier: Integers, epoch: int, step: int) -> tuple[int, int]:
        """Goes on with an epoch of which ``step`` batches are done, in the order whose keys are ``earlier``.

        What is done stays done. Of the rest the pictures that are gone are left out, and new ones are mixed in; where
        nothing is left of the epoch they wait for the next one. With the same pictures the order is the same.

        Returns:
            How many pictures are new, and how many are gone.
        """
        assert self._keys is not None, "these pictures are not known by keys"
        new = np.flatnonzero(~np.isin(self._keys, earlier))
        gone = int((~np.isin(earlier, self._keys)).sum())
        self.begin(epoch)
        assert self._order is not None
        if step == 0 or np.array_equal(self._order, earlier):  # pictures may share a key: look none up without need
            return len(new), gone
        place = {key: index for index, key in enumerate(self._keys.tolist())}
        known = np.array([place.get(key, _GONE) for key in earlier.tolist()], np.int64)
        if self._labels is not None:
            times = _appearances(earlier) % MOST_TIMES
            known = np.where(known == _GONE, _GONE, known + self._count * times)
        done = min(step * self._batch, len(known))
        rest = known[done:][known[done:] != _GONE]
        if done < len(known) and len(new):
            mixed = np.random.default_rng((self._seed, epoch, step, _JOINED)).permutation(len(rest) + len(new))
            rest = np.concatenate([rest, new])[mixed]
        self._indices = np.concatenate([known[:done], rest])
        self._order = np.concatenate([earlier[:done], self._keys[rest % self._count]])
        return len(new), gone


def _appearances(keys: Integers) -> Integers:
    """Of each element, how many before it are the same."""
    order = np.argsort(keys, kind="stable")
    first = np.searchsorted(keys[order], keys[order])
    found = np.empty(len(keys), np.int64)
    found[order] = np.arange(len(keys)) - first
    return found
