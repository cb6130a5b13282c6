"""The weighted mean of what clients reply, kept as one running sum: its memory does not grow with their number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..runtime.weighting import checked_weight


class Mean:
    """A weighted mean of vectors that come one by one.

    Sums are in double precision. So the order in which replies arrive changes a mean by at most a rounding of float32.

    Args:
        count: numbers of a vector.
    """

    def __init__(self, count: int) -> None:
        self._sum = np.zeros(count)
        self.weight, self.replies = 0.0, 0

    def add(self, values: npt.ArrayLike, weight: float) -> None:
        """One more vector, float32 [count].

        Raises:
            TypeError, ValueError: another type or length, a number that is not finite, or a weight that is not above 0
                (from 1e-15 to 1e15); the mean stays as it was.
        """
        given = np.asarray(values)
        if given.dtype != np.float32:
            raise TypeError(f"values: expected float32, got {given.dtype}")
        if given.shape != self._sum.shape:
            raise ValueError(f"values: expected {list(self._sum.shape)}, got {list(given.shape)}")
        weight = checked_weight("weight", weight)
        if not np.isfinite(given).all():
            raise ValueError("values: expected finite numbers; the client's training diverged")
        self._sum += np.multiply(given, weight, dtype=np.float64)
        self.weight += weight
        self.replies += 1

    def result(self) -> npt.NDArray[np.float32]:
        """The mean, float32 [count].

        Raises:
            ValueError: nothing was added.
        """
        if self.replies == 0:
            raise ValueError("mean: of nothing; add a reply first")
        return (self._sum / self.weight).astype(np.float32)
