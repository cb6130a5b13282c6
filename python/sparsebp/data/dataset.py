"""A training and a test set, and how pictures come into one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .combined import Joined, Subset, at_levels, keys_of, survey
from .levels import Levels, Survey
from .sources import Files, Source
from .split import Split

DEFAULT_TEST_SHARE = 0.2
"""The share of a folder's pictures that is held out to test with, unless it is said otherwise."""


@dataclass(frozen=True)
class Dataset:
    """Pictures to fine-tune on, pictures to judge the result by, and what the labels mean.

    Attributes:
        train, test: the pictures.
        classes: the name of each label.
        kind: what was found, for a message.
        split: how the two were made of one set; None where they came as two.
        levels: black and white of the pictures with more than 8 bits a sample, if there are any.
        survey: what was found in these.
        learned: keys of pictures that the weights at hand were trained on before; none of them is held out.
    """

    train: Source
    test: Source
    classes: tuple[str, ...]
    kind: str
    split: Split | None = None
    levels: Levels | None = None
    survey: Survey | None = None
    learned: npt.NDArray[np.int64] | None = None

    @property
    def everything(self) -> Source:
        """All pictures in one."""
        if self.split is not None and isinstance(self.train, Subset):
            return self.train.source
        return Joined(self.train, self.test)

    def keeping(self, learned: npt.NDArray[np.int64]) -> Dataset:
        """The same with none of these pictures held out, nor of those named before.

        Args:
            learned: keys, see :meth:`Files.keys`.
        """
        known = learned if self.learned is None else np.union1d(self.learned, learned)
        whole = self.everything
        if self.split is None or not isinstance(whole, Files):
            return replace(self, learned=known)
        train, test = divided(whole, self.split, known)
        return replace(self, train=train, test=test, learned=known)

    def at_levels(self, levels: Levels | None) -> Dataset:
        """The same with these levels; as it is where they are None."""
        if levels is None or levels == self.levels:
            return self
        if self.split is not None and isinstance(self.train, Subset) and isinstance(self.test, Subset):
            whole = at_levels(self.train.source, levels)  # one source still, of which both are parts
            train, test = (Subset(whole, part.indices) for part in (self.train, self.test))
            return replace(self, train=train, test=test, levels=levels)
        return replace(self, train=at_levels(self.train, levels), test=at_levels(self.test, levels), levels=levels)

    def surveyed(self, levels: Levels | None) -> Dataset:
        """The same at these levels or, if None, at those that suit the training pictures, or else the test pictures."""
        found = survey(self.train)
        found = found if found.extremes else survey(self.test)
        return replace(self.at_levels(levels or found.fitting()), survey=found)


def divided(whole: Files, split: Split, learned: npt.NDArray[np.int64] | None = None) -> tuple[Subset, Subset]:
    """What to train on and what is held out of the pictures of a folder."""
    names = [path.partition("/")[2] for path in whole.paths]
    before = np.isin(whole.keys(), learned) if learned is not None else np.zeros(len(whole), dtype=bool)
    train, test = split.divide(names, whole.labels, before)
    return Subset(whole, train), Subset(whole, test)


def known_pictures(source: Source, keys: npt.NDArray[np.int64]) -> int:
    """How many pictures of a source are among those with the given keys."""
    own = keys_of(source)
    return 0 if own is None else int(np.isin(own, keys).sum())


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names with commas between them; of many only the first."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
