"""Which pictures a bounded store keeps: class-balanced reservoir sampling (Chrysakis and Moens, ICML 2020)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .draws import Draws

FREE = -1


class Balance:
    """The places of a store and the classes of what is in them.

    While there is room, every picture is kept. Then a picture of a class that lost none yet takes the place of one of
    the largest class. Of a class that did lose some a sample is kept: a new picture joins it with such a chance that
    each that was ever seen is kept as likely as any other.

    Args:
        rows: the class of each place, or :data:`FREE`.
        seen: pictures of each class so far; a list that the caller shares and lets grow with the classes.
        draws: random numbers.
    """

    def __init__(self, rows: npt.NDArray[np.int64], seen: list[int], draws: Draws) -> None:
        self.rows, self._seen, self._draws = rows, seen, draws
        seen[:] = np.maximum(seen, self.counts()).tolist()  # what was noted of them may be older than the places

    def counts(self) -> npt.NDArray[np.int64]:
        """Kept pictures of each class."""
        return np.bincount(self.rows[self.rows >= 0], minlength=len(self._seen))

    def free(self) -> npt.NDArray[np.int64]:
        """The places that hold nothing."""
        return np.flatnonzero(self.rows == FREE)

    def place_for(self, row: int) -> int | None:
        """Where the next picture of a class goes; None if it is not kept."""
        counts, free = self.counts(), self.free()
        kept = int(counts[row])
        if kept == 0:
            self._seen[row] = 0  # those that were kept are damaged: the class begins anew
        seen = self._seen[row]
        if kept == seen and free.size:
            return int(free[0])
        if kept == seen and kept < counts.max():
            return self.one_of_the_largest()
        if free.size:
            return int(free[0]) if self._draws.below(seen) < kept else None
        chosen = self._draws.below(seen + 1)
        return int(np.flatnonzero(self.rows == row)[chosen]) if chosen < kept else None

    def one_of_the_largest(self) -> int:
        """A place of the class that has most; of one of them, if there are several."""
        counts = self.counts()
        largest = np.flatnonzero(counts == counts.max())
        places = np.flatnonzero(self.rows == largest[self._draws.below(len(largest))])
        return int(places[self._draws.below(len(places))])
