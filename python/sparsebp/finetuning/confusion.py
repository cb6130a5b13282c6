"""What test pictures were taken for, and what that says: accuracies, their interval, the frequent mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

_TWO_SIDED = NormalDist().inv_cdf(0.975)
"""Standard deviations between which 95 % of a normal distribution lie, about 1.96."""


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, of which a sample of ``total`` had ``correct``.

    Unlike the textbook's, p +- 1.96 standard errors, it stays inside [0, 1] and says something of a sample that is all
    right, or has ten members.
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"correct: expected 0 to {total} of at least one picture, got {correct}")
    share, z2 = correct / total, _TWO_SIDED**2
    middle = share + z2 / (2 * total)
    half = _TWO_SIDED * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    scale = 1 + z2 / total
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


@dataclass(frozen=True)
class Confusion:
    """Counts of test pictures by what they are and what they were taken for.

    Attributes:
        classes: the names.
        counts: int64 [class of the picture, class that it was taken for].
    """

    classes: tuple[str, ...]
    counts: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """Pictures in all."""
        return int(self.counts.sum())

    @property
    def correct(self) -> int:
        """Those that were taken for what they are."""
        return int(self.counts.trace())

    @property
    def accuracy(self) -> float:
        """Share of the pictures that were taken for what they are."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy on very many such pictures is, with a probability of 95 %; see :func:`wilson`."""
        return wilson(self.correct, self.total)

    @property
    def balanced(self) -> float:
        """Mean of the classes' accuracies: a class counts as one, however many pictures it has. Those without are left
        out."""
        pictures = self.counts.sum(1)
        tested = pictures > 0
        return float((self.counts.diagonal()[tested] / pictures[tested]).mean())

    @property
    def by_class(self) -> dict[str, dict[str, int]]:
        """Of each class how many pictures there were and how many of them got their label."""
        rows = zip(self.classes, self.counts.sum(1).tolist(), self.counts.diagonal().tolist(), strict=True)
        return {name: {"pictures": pictures, "correct": correct} for name, pictures, correct in rows}

    @property
    def mistakes(self) -> list[tuple[str, str, int]]:
        """(class, what it was taken for, how often) of all that happened, the most frequent first."""
        wrong = self.counts - np.diag(self.counts.diagonal())
        pairs = sorted(np.argwhere(wrong).tolist(), key=lambda pair: -int(wrong[tuple(pair)]))
        return [(self.classes[label], self.classes[taken], int(wrong[label, taken])) for label, taken in pairs]

    def to_dict(self) -> dict[str, dict[str, int]]:
        """By name, as JSON can hold it: ``found["ants"]["bees"]`` ants were taken for bees. Zeros are left out."""
        return {
            name: {self.classes[int(i)]: int(row[i]) for i in np.flatnonzero(row)}
            for name, row in zip(self.classes, self.counts, strict=True)
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Mapping[str, int]]) -> Confusion:
        """The inverse of :meth:`to_dict`."""
        at = {name: i for i, name in enumerate(found)}
        counts = np.zeros((len(at), len(at)), np.int64)
        for name, row in found.items():
            for taken, count in row.items():
                counts[at[name], at[taken]] = count
        return cls(tuple(at), counts)

    def summary(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "pictures": self.total,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "balanced": self.balanced,
            "classes": self.by_class,
            "confusion": self.to_dict(),
        }


def count(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.int64]:
    """How many pictures of each label were taken for each class, int64 [classes, classes]."""
    pairs: npt.NDArray[np.int64] = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return pairs.reshape(classes, classes)
