"""A plan file that trains."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _C


@dataclass(frozen=True)
class Sizes:
    """Bytes and shapes of a plan.

    Attributes:
        arena_bytes: the most that one training step needs of the budget.
        budget_bytes: what the plan was made for, and what the arena has.
        workspace_bytes: activations of inference, with one micro-batch of images and of logits.
        file_bytes: of the plan file, weights included.
        height, width, channels: of an image.
        classes: logits of an image.
        micro_batch: images that go through at once.
        batch: images of a whole step; a step of another size takes its share of the rates (normalised: the
            root), of more images more.
    """

    arena_bytes: int
    budget_bytes: int
    workspace_bytes: int
    file_bytes: int
    height: int
    width: int
    channels: int
    classes: int
    micro_batch: int
    batch: int


@dataclass(frozen=True)
class Step:
    """What a call came to.

    Attributes:
        loss: the mean.
        correct: images that were recognised, before the update.
        trained: images that trained something; with a skip threshold fewer than there were.
    """

    loss: float
    correct: int
    trained: int


@dataclass(frozen=True)
class Progress:
    """Where training is.

    Attributes:
        batches: seen so far; the schedule goes by them.
        steps: taken so far.
        turn: draws of the channels so far, less one.
    """

    batches: int
    steps: int
    turn: int


class Session:
    """Trains a network from its plan file; see :func:`sparsebp.export`.

    Takes the memory that the plan says, once. Weights are trained where the file is mapped, in pages of this process;
    the file itself changes when :meth:`save` writes it.

    Args:
        file: a plan file's path, or its bytes.

    Raises:
        PlanFileError: it is damaged, foreign or of a newer version.
    """

    def __init__(self, file: str | os.PathLike[str] | bytes) -> None:
        if isinstance(file, bytes):
            self._plan = _C.OpenPlan.from_bytes(file)
        elif isinstance(file, (str, os.PathLike)):
            self._plan = _C.OpenPlan(os.fspath(file))
        else:
            raise TypeError(f"file: expected a path or bytes, got {type(file).__name__}")
        self._plan.attach()
        self.sizes = Sizes(**self._plan.sizes)

    # -- learning --------------------------------------------------------------------------------

    def train(self, pixels: npt.ArrayLike, labels: npt.ArrayLike) -> Step:
        """One step: forward, softmax cross-entropy, backward, update, and the next draw of the channels.

        Args:
            pixels: [N, H, W, C], uint8 as the plan's preprocessing takes them, or float32 as the network does.
            labels: [N] in [0, classes).

        Raises:
            TypeError, ValueError: an array has another shape or type; nothing was trained.
            FloatingPointError: the loss is not finite; micro-batches before it are applied.
        """
        images, targets = self._pair(pixels, labels)
        return Step(*self._plan.train(images.ctypes.data, images.dtype == np.uint8, targets.ctypes.data, len(images)))

    def predict(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Logits [N, classes] of images [N, H, W, C], as in evaluation."""
        images = self._images(pixels)
        out = np.empty((len(images), self.sizes.classes), np.float32)
        self._plan.predict(images.ctypes.data, images.dtype == np.uint8, len(images), out.ctypes.data)
        return out

    def evaluate(self, pixels: npt.ArrayLike, labels: npt.ArrayLike) -> Step:
        """Loss and recognised images without training."""
        images, targets = self._pair(pixels, labels)
        found = self._plan.evaluate(images.ctypes.data, images.dtype == np.uint8, targets.ctypes.data, len(images))
        return Step(*found)

    @property
    def rate(self) -> float:
        """Factor of all learning rates, beside the plan's schedule."""
        return float(self._plan.rate)

    @rate.setter
    def rate(self, factor: float) -> None:
        self._plan.set_rate(float(factor))

    # -- what it knows ---------------------------------------------------------------------------

    @property
    def progress(self) -> Progress:
        """Where training is."""
        return Progress(*self._plan.progress[:3])

    def coverage(self) -> float:
        """Share of the weights of trained convolutions that were visited so far."""
        return float(self._plan.coverage)

    @property
    def arena_peak(self) -> int:
        """The highest byte of the arena that a step has touched."""
        return int(self._plan.arena_peak)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says beside the plan: class names, preprocessing, digest."""
        return {key: json.loads(text) if key in _JSON else text for key, text in self._plan.metadata.items()}

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the classes, if the file has them."""
        return self.metadata.get("classes")

    @property
    def plan(self) -> dict[str, Any]:
        """The plan as plain data.

        ``layers`` (names, shapes, how many input channels train at once and which ones next, the rules of weight, bias
        and shift, ``None`` for what is left alone), ``ops`` in the order in which they run, ``bytes`` of budget, arena
        and workspace, and ``recipe``: sampler, schedule, batch, and what a step is otherwise.
        """
        return self._plan.plan

    def save(self, path: str | Path) -> None:
        """Writes a plan file with the weights and the training state of now, whole or not at all.

        Raises:
            PlanFileError: it cannot be written.
        """
        self._plan.save(os.fspath(path))

    def save_delta(self, path: str | Path) -> None:
        """Writes what has changed since the session was opened or last saved, by :meth:`save` or by this call.

        :func:`apply_delta` makes a plan file of it again. Of trained weights it holds the input channels that were
        drawn since; with a sampler that draws by what was trained, all that were ever visited.

        Raises:
            PlanFileError: it cannot be written.
        """
        self._plan.save_delta(os.fspath(path))

    def __reduce__(self) -> Any:
        raise TypeError("a Session cannot be copied or pickled; save it, and open the file once more")

    # -- arrays ----------------------------------------------------------------------------------

    def _images(self, pixels: npt.ArrayLike) -> npt.NDArray[Any]:
        images = np.ascontiguousarray(pixels)
        shape = (self.sizes.height, self.sizes.width, self.sizes.channels)
        if images.ndim != 4 or images.shape[1:] != shape:
            raise ValueError(f"pixels: expected [N, {', '.join(map(str, shape))}], got {list(images.shape)}")
        if images.dtype not in (np.uint8, np.float32):
            raise TypeError(f"pixels: expected uint8 or float32, got {images.dtype}")
        if images.dtype == np.uint8 and not self._plan.takes_bytes:
            raise TypeError("pixels: this plan was exported without preprocessing; expected float32, got uint8")
        return images

    def _pair(self, pixels: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
        images, given = self._images(pixels), np.asarray(labels)
        if given.ndim != 1 or len(given) != len(images):
            raise ValueError(f"labels: expected one for each of {len(images)} images, got {list(given.shape)}")
        if not np.issubdtype(given.dtype, np.integer):
            raise TypeError(f"labels: expected whole numbers, got {given.dtype}")
        if len(given) and not 0 <= given.min() <= given.max() < self.sizes.classes:
            raise ValueError(f"labels: expected 0 to {self.sizes.classes - 1}, got {given.min()} to {given.max()}")
        return images, np.ascontiguousarray(given, np.int32)


_JSON = ("classes", "origin", "preprocess", "settings")
