"""Batches for training and testing: from the pictures, or from what the frozen prefix made of them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from ..data import Batch, BrokenPicture, Dataset, Loader, Preprocess
from ..data.combined import Repeated, keys_of
from ..data.readable import broken_picture, check_classes
from ..distributed import Shard
from ..runtime.stop import StopRequest
from ..training.sparse_model import SparseModel
from .balance import MOST_TIMES, class_offsets
from .behind_prefix import before_prefix, behind_prefix, changed, check_behind_prefix, forms
from .cache import PrefixCache, cache_bytes, check_memory, check_prefix, usual_place
from .checkpoint import ORDER, RESTS
from .history import Position
from .observer import Observer
from .order import Change, Order
from .rest import Rests
from .settings import Settings
from .slide import NAME as SLIDE

EVALUATION_BATCH = 64
"""Pictures that are read together for a test; through the network they go in micro-batches."""

Pairs = Generator[tuple[torch.Tensor, torch.Tensor], None, None]
Numbered = Generator[tuple[torch.Tensor, torch.Tensor, list[int]], None, None]


class Feed:
    """Inputs and labels of one run, in an order that depends on the seed alone.

    Args:
        model: converted.
        dataset: the pictures.
        preprocess: how they become input.
        settings: of the run.
        workers: processes that read pictures.
        strict: a picture that cannot be read raises.
        observer: hears of pictures that are left out.
        shard: the part of every batch, and of the test pictures, that comes out here.

    Raises:
        ValueError: pictures cannot be changed behind this model's frozen layers.

    Attributes:
        from_prefix: whether inputs are features of the frozen prefix instead of images.
        order: of the current epoch's pictures.
        rests: which of them are left out of this epoch.
        skipped: names of the pictures that could not be read so far, in the order they were met, and why.
    """

    def __init__(
        self,
        model: SparseModel,
        dataset: Dataset,
        preprocess: Preprocess,
        settings: Settings,
        workers: int,
        strict: bool,
        observer: Observer,
        shard: Shard | None = None,
    ) -> None:
        self._model = model
        self._shard = shard or Shard()
        self._dataset = dataset
        self._preprocess = preprocess
        self._settings = settings
        self._strict = strict
        self._observer = observer
        self._caches: tuple[PrefixCache, PrefixCache] | None = None
        self._open = ExitStack()
        self._behind = behind_prefix(settings.augment)
        if self._behind:
            check_behind_prefix(self._behind, check_prefix(model, f"augment: {self._behind[0]}"))
        augment, seed = before_prefix(settings.augment), settings.seed
        sampled = settings.balance == "sampling"
        shown = Repeated(dataset.train, MOST_TIMES) if sampled else dataset.train
        self._train = Loader(shown, preprocess, augment=augment, seed=seed, workers=workers)
        self._plain = Loader(dataset.train, preprocess, workers=workers)
        self._test = Loader(dataset.test, preprocess, workers=workers)
        labels = dataset.train.labels if sampled else None
        self.order = Order(len(dataset.train), settings.batch_size, settings.seed, keys_of(dataset.train), labels)
        self.rests = Rests(len(shown), settings.rest)
        self.skipped: dict[str, str] = {}

    def __enter__(self) -> Feed:
        for loader in (self._train, self._plain, self._test):
            self._open.enter_context(loader)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def from_prefix(self) -> bool:
        return self._caches is not None or bool(self._behind)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self._dataset.classes

    @property
    def tests(self) -> int:
        """Number of test pictures."""
        return len(self._dataset.test)

    @property
    def class_offsets(self) -> torch.Tensor | None:
        """What the loss adds to each class's logit; None for nothing."""
        if self._settings.balance != "loss":
            return None
        return class_offsets(self._dataset.train.labels, len(self.classes)).to(self._model.engine.device)

    def state(self) -> dict[str, torch.Tensor]:
        """What :meth:`resume` wants to find in a checkpoint."""
        found: dict[str, torch.Tensor] = {}
        if self.order.keys is not None:
            found[ORDER] = torch.from_numpy(self.order.keys)
        if self.rests.state is not None:
            found[RESTS] = self.rests.state
        return found

    def resume(self, training: Mapping[str, torch.Tensor], position: Position) -> Change | None:
        """Goes on with the epoch of a checkpoint, by its tensors; says what is different now, if pictures have keys.

        Where pictures came or went, none rests.
        """
        epoch, keys, resting = position.epoch, training.get(ORDER), training.get(RESTS)
        if keys is None:
            self.order.begin(epoch)
            if resting is not None:
                self.rests.go_on(resting)
            return None
        new, gone = self.order.resume(keys.numpy(), epoch, position.step)
        if position.finished:
            self.order.end(keys.numpy())
        if resting is not None and not new and not gone:
            self.rests.go_on(resting)
        waits = position.step == position.steps_per_epoch  # for the epoch's test, which is all that is left of it
        first = epoch + 1 + waits
        return Change(new, gone, first if first <= position.epochs else None, self.tests)

    def check_classes(self) -> None:
        """Looks whether each class has a training picture that can be read; one will do.

        Raises:
            ValueError: one has none.
        """
        check_classes(self._dataset.train, self.classes, self._broken)

    @property
    def resting(self) -> int:
        """How many pictures of the current epoch rest."""
        rows = self.order.rows(0)
        return sum(map(len, rows)) - sum(map(len, self.rests.due(rows)))

    def train(self, epoch: int, first: int) -> Numbered:
        """The batches of an epoch, which is the one that ``order`` is of, from number ``first`` on.

        Inputs, labels, and the numbers of the pictures. A batch of pictures that rest or are unreadable is empty.
        """
        rows = self.rests.due([self._shard.of(row, self._settings.micro_batch) for row in self.order.rows(first)])
        if self._caches is not None:
            return self._caches[0].batches(rows, self._settings.seed, epoch, self._behind)
        return self._inputs(self._train(rows, epoch), epoch)

    def test(self, shared: bool = True) -> Pairs:
        """The test pictures, in order: this shard's, or all."""
        rows = _in_order(self.tests)
        rows = self._shard.of(rows) if shared else rows
        return _pairs(self._inputs(self._test(rows)) if self._caches is None else self._caches[1].batches(rows))

    def usual_cache(self, folder: Path | None, copies: int = 1) -> str | None:
        """Where features are kept if nobody says so; None if that cannot be, or so many take too much room."""
        if forms(self._settings.augment) is None:
            return None
        try:
            size = self._cache_bytes()
        except ValueError:
            return None
        return usual_place(copies * size, folder)

    @property
    def _forms(self) -> int:
        """Of each training picture; the caller knows that they are few."""
        return forms(self._settings.augment) or 1

    def _cache_bytes(self) -> int:
        return cache_bytes(self._model, self._forms * len(self._dataset.train) + self.tests)

    def cache(self, place: str, folder: Path | None, stop: StopRequest, copies: int = 1) -> None:
        """Runs the frozen prefix once over every form of every picture; from then on batches hold its features.

        On one machine as many ranks as ``copies`` do the same.

        Raises:
            ValueError, OSError: see :class:`PrefixCache`.
            MemoryError: more bytes than the machine has left.
        """
        counts = len(self._dataset.train), self.tests
        total, size = sum(counts), self._cache_bytes()
        self._observer.caching(0, total, size, place)
        if place == "memory":
            check_memory(copies * size)
        caches = (
            PrefixCache(self._model, counts[0], self._forms, place, folder),
            PrefixCache(self._model, counts[1], 1, place, folder),
        )
        before = 0
        for cache, loader, count in zip(caches, (self._plain, self._test), counts, strict=True):
            for batch in self._readable(loader(_in_order(count))):
                stop.check()
                before += cache.add(batch, self._preprocess)
                self._observer.caching(before, total, size, place)
        self._caches = caches

    def _inputs(self, batches: Iterable[Batch], epoch: int | None = None) -> Numbered:
        """``epoch``: of training batches."""
        device = self._model.engine.device
        for batch in self._readable(batches):
            x = self._preprocess.normalise(batch.images.to(device))
            if self._behind:
                x = self._model.run_prefix(x)
                if epoch is not None:
                    seen = x.permute(0, 2, 3, 1), self._behind, self._settings.seed, epoch, batch.indices.tolist()
                    x = changed(*seen).permute(0, 3, 1, 2)
            yield x, batch.labels.to(device), batch.indices.tolist()

    def also_skipped(self, others: Mapping[str, str]) -> None:
        """Pictures that other ranks could not read."""
        for name, reason in others.items():
            if name not in self.skipped:
                self.skipped[name] = reason
                self._observer.skipped(BrokenPicture(name, reason))

    def _readable(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            for picture in batch.broken:
                if self._strict:
                    raise picture
                self.also_skipped({picture.name: picture.reason})
            yield batch

    def _broken(self, index: int) -> BrokenPicture | None:
        """Why a training picture cannot be read, by reading it unless it was read for the cache."""
        source = self._dataset.train
        if self._caches is None:
            return broken_picture(source, index)
        name = source.name(index)
        return BrokenPicture(name, self.skipped[name]) if name in self.skipped else None


def slides(model: SparseModel) -> bool:
    """Whether pictures can slide behind a model's frozen layers."""
    try:
        check_behind_prefix((SLIDE,), check_prefix(model, "augment: slide"))
    except ValueError:
        return False
    return True


def _pairs(batches: Numbered) -> Pairs:
    with closing(batches):
        for x, labels, _ in batches:
            yield x, labels


def _in_order(count: int) -> list[list[int]]:
    return [list(range(i, min(i + EVALUATION_BATCH, count))) for i in range(0, count, EVALUATION_BATCH)]
