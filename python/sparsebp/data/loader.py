"""Batches of pictures, read, decoded and resized in worker processes."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..units import check_seed
from .augment import augment as augmented
from .augment import parse_augment
from .broken import BrokenPicture
from .combined import at_levels
from .preprocess import Preprocess
from .sources import Source
from .workers import Workers


@dataclass(frozen=True)
class Batch:
    """Some pictures, as uint8.

    Attributes:
        indices: int64 [n], of the pictures that could be read.
        images: uint8 [n, H, W, 3].
        labels: int64 [n].
        broken: the pictures of this batch that could not be read and are left out above.
    """

    indices: torch.Tensor
    images: torch.Tensor
    labels: torch.Tensor
    broken: tuple[BrokenPicture, ...]


class Loader:
    """Reads, decodes and resizes pictures in worker processes.

    Every picture's augmentation is a function of seed, epoch and index alone: neither the number of workers nor
    where a run was resumed changes it. Worker processes live for one call. On Linux they are forked, which takes
    milliseconds; elsewhere each starts a Python of its own, which takes seconds, gets a copy of ``source``, and the
    calling script needs ``if __name__ == "__main__":``.

    Args:
        source: the pictures.
        preprocess: their size and how they get it.
        augment: names of augmentations.
        seed: of the augmentations.
        workers: how many processes read; 0 reads in this one.
    """

    def __init__(
        self, source: Source, preprocess: Preprocess, *, augment: Sequence[str] = (), seed: int = 0, workers: int = 0
    ) -> None:
        if not isinstance(preprocess, Preprocess):
            raise TypeError(f"preprocess: expected a Preprocess, got {type(preprocess).__name__}")
        if isinstance(workers, bool) or not isinstance(workers, int):
            raise TypeError(f"workers: expected an int, got {type(workers).__name__} {workers!r}")
        if workers < 0:
            raise ValueError(f"workers: expected 0 or more, got {workers}")
        self.source = at_levels(source, preprocess.levels)
        self.preprocess = preprocess
        self.augment = parse_augment(augment)
        self.seed = check_seed(seed)
        self.workers = workers
        self._passes: weakref.WeakSet[Generator[Batch, None, None]] = weakref.WeakSet()
        self._closed = False

    def __call__(self, batches: Sequence[Sequence[int]], epoch: int = 0) -> Generator[Batch, None, None]:
        """The batches, each a list of indices, in the given order; with n = 0 where no picture could be read.

        What ends the iteration early also ends the workers: leaving the loop for good, an error, ``close()``.

        Raises:
            IndexError: an index that the source does not have.
            RuntimeError: the loader is closed.
        """
        if self._closed:
            raise RuntimeError("Loader: it is closed; make another one")
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise ValueError(f"epoch: expected an int from 0 on, got {epoch!r}")
        wanted = [[operator.index(index) for index in batch] for batch in batches]
        count = len(self.source)
        for batch in wanted:
            if batch and not (min(batch) >= 0 and max(batch) < count):
                raise IndexError(f"batches: expected indices 0 to {count - 1}, got {min(batch)} to {max(batch)}")
        reader = _Reader(self.source, self.preprocess, self.augment, self.seed, epoch)
        reading = _in_processes(reader, wanted, self.workers) if self.workers and wanted else _here(reader, wanted)
        self._passes.add(reading)
        return reading

    def close(self) -> None:
        """Ends every iteration that is under way, and its workers."""
        self._closed = True
        for batches in list(self._passes):
            batches.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Reader:
    """What a worker process does with the indices of a batch."""

    def __init__(self, source: Source, preprocess: Preprocess, augment: tuple[str, ...], seed: int, epoch: int) -> None:
        self.source = source
        self.preprocess = preprocess
        self.augment = augment
        self.seed = seed
        self.epoch = epoch
        self.stop: Any = None

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, ...]:
        images = np.empty((len(indices), *self.preprocess.size, 3), np.uint8)
        read: list[int] = []
        broken: list[BrokenPicture] = []
        for index in indices:
            if self.stop is not None and self.stop.value:
                break  # nobody waits for this batch any more
            try:
                images[len(read)] = self._pixels(index)
                read.append(index)
            except BrokenPicture as error:
                # A fresh one: the caught one holds on to the frames it came through, and the picture in them.
                broken.append(BrokenPicture(error.name, error.reason))
        chosen = np.array(read, np.int64)
        return chosen, images[: len(read)], self.source.labels[chosen], tuple(broken)

    def _pixels(self, index: int) -> np.ndarray:
        picture = self.source.picture(index)
        if not self.augment:
            return self.preprocess.fit(picture)
        generator = np.random.default_rng((self.seed, self.epoch, index))
        return augmented(picture, self.augment, self.preprocess, generator)


def _as_batch(parts: tuple[Any, ...]) -> Batch:
    indices, images, labels, broken = parts
    return Batch(torch.from_numpy(indices), torch.from_numpy(images), torch.from_numpy(labels), broken)


def _here(reader: _Reader, batches: list[list[int]]) -> Generator[Batch, None, None]:
    for batch in batches:
        yield _as_batch(reader.__getitems__(batch))


def _in_processes(reader: _Reader, batches: list[list[int]], workers: int) -> Generator[Batch, None, None]:
    with Workers(reader, batches, workers) as results:
        for parts in results:
            yield _as_batch(parts)
