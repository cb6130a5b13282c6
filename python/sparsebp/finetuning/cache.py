"""What the frozen prefix makes of each picture, computed once and kept for the whole run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ..data import Batch, Preprocess
from ..data.augment import flipped
from ..files import named_errors
from ..training.sparse_model import SparseModel
from ..units import format_bytes
from .behind_prefix import changed

PLACES = ("memory", "disk")
CHOICES = (*PLACES, "auto", "none")
_SHARE = {"memory": 4, "disk": 2}
"""A cache that nobody asked for takes so small a part of what is free: a quarter, a half."""


def check_prefix(model: SparseModel, what: str) -> tuple[int, int, int]:
    """The shape of what the frozen prefix makes of a picture.

    Raises:
        ValueError: there is no one activation between prefix and span, or it is random; begins with ``what``.
    """
    shape = model.prefix_shape
    if shape is None:
        raise ValueError(f"{what}: more than one activation goes from the frozen prefix into the span of this model")
    if model.prefix_is_random:
        raise ValueError(f"{what}: the frozen prefix holds dropout, so that its features differ from pass to pass")
    return shape


def cache_bytes(model: SparseModel, pictures: int) -> int:
    """Bytes that the features of so many pictures, or forms of pictures, take.

    Raises:
        ValueError: see :func:`check_prefix`.
    """
    return pictures * int(np.prod(check_prefix(model, "cache"))) * model.engine.dtype.itemsize


class PrefixCache:
    """Features of every picture of a source, in memory or in a file that vanishes with the process.

    Args:
        model: converted.
        pictures: how many there are.
        forms: features that are kept of each: 1, or 2 with those of its mirror image.
        place: ``"memory"`` or ``"disk"``.
        folder: where the file goes.

    Raises:
        ValueError: the model cannot be cached, or an argument is wrong.
        OSError: the disk has not that much room.
    """

    def __init__(self, model: SparseModel, pictures: int, forms: int, place: str, folder: Path | None = None) -> None:
        if place not in PLACES:
            raise ValueError(f"cache: expected {' or '.join(PLACES)}, got {place!r}")
        size = cache_bytes(model, forms * pictures)
        assert model.prefix_shape is not None
        channels, height, width = model.prefix_shape
        shape = (forms, pictures, height, width, channels)
        self._model = model
        self._valid = np.zeros(pictures, dtype=bool)
        self._labels = np.zeros(pictures, dtype=np.int64)
        if place == "memory":
            self._features = torch.empty(shape, dtype=model.engine.dtype)
        else:
            self._features = torch.from_numpy(_unlinked_file(size, folder)).view(model.engine.dtype).view(shape)

    def add(self, batch: Batch, preprocess: Preprocess) -> int:
        """Runs the prefix over a batch and keeps its features; returns how many pictures that was."""
        if len(batch.indices):
            for form, images in zip(self._features, (batch.images, batch.images.flip(2)), strict=False):
                features = self._model.run_prefix(preprocess.normalise(images.to(self._model.engine.device)))
                form[batch.indices] = features.permute(0, 2, 3, 1).cpu()
            self._valid[batch.indices.numpy()] = True
            self._labels[batch.indices.numpy()] = batch.labels.numpy()
        return len(batch.indices) + len(batch.broken)

    def batches(
        self, rows: Iterable[Sequence[int]], seed: int = 0, epoch: int = 0, augment: Sequence[str] = ()
    ) -> Generator[tuple[torch.Tensor, torch.Tensor, list[int]], None, None]:
        """Features [n, C, H, W], labels and numbers of the given pictures, without those that could not be read.

        A picture's second appearance in an epoch goes by its number plus how many pictures there are, and so on.
        Where mirror images are kept, seed and epoch say which of the two is taken, as for a loader, and how
        those of ``augment`` change it, which are some of :func:`.behind_prefix`.
        """
        for indices in rows:
            chosen = np.asarray(indices, dtype=np.int64)
            chosen = chosen[self._valid[chosen % len(self._valid)]]
            pictures = chosen % len(self._valid)
            forms = flipped(seed, epoch, chosen) if len(self._features) > 1 else np.zeros(len(chosen), dtype=bool)
            features = self._features[torch.from_numpy(forms.astype(np.int64)), torch.from_numpy(pictures)]
            features = changed(features, augment, seed, epoch, chosen.tolist())
            labels, device = torch.from_numpy(self._labels[pictures]), self._model.engine.device
            yield features.permute(0, 3, 1, 2).to(device), labels.to(device), chosen.tolist()


def check_memory(size: int) -> None:
    """Raises MemoryError where Linux says that so much is not to be had."""
    free = _free_memory()
    if free is not None and size > free:
        raise MemoryError(
            f"cache: the features take {format_bytes(size)}, and {format_bytes(free)} of memory are available; "
            "use the disk instead"
        )


def usual_place(size: int, folder: Path | None) -> str | None:
    """Where a cache of so many bytes goes that nobody asked for: to the run's folder, without one into memory.

    None if there is not plenty of room.
    """
    if folder is None:
        free, place = _free_memory() or 0, "memory"
    else:
        free, place = shutil.disk_usage(folder).free, "disk"
    return place if size * _SHARE[place] <= free else None


def _free_memory() -> int | None:
    """Bytes that Linux says are to be had."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return None


def _unlinked_file(size: int, folder: Path | None) -> np.ndarray:
    """``size`` bytes of a file that has no name, so that it goes with the process however that ends."""
    with tempfile.TemporaryFile(dir=folder) as stream:
        with named_errors(folder or Path(tempfile.gettempdir())):
            os.posix_fallocate(stream.fileno(), 0, max(1, size))  # a full disk is told now, not by a signal later
        return np.memmap(stream, dtype=np.uint8, mode="r+", shape=(size,))
