"""A plan file that trains."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from math import prod
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _C
from ..errors import PlanFileError
from ..files import as_path
from . import arrays
from .facts import Progress, Sizes, Step


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
            self._plan = _open(file)
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
        return self._learn(self._plan.train, self._pixels(pixels), labels)

    def predict(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Logits [N, classes] of images [N, H, W, C], as in evaluation."""
        return self._infer(self._plan.predict, self._pixels(pixels), self.sizes.classes)

    def evaluate(self, pixels: npt.ArrayLike, labels: npt.ArrayLike) -> Step:
        """Loss and recognised images without training."""
        return self._learn(self._plan.evaluate, self._pixels(pixels), labels)

    @property
    def pictures(self) -> npt.NDArray[np.uint8] | None:
        """Where the arena holds a micro-batch of images, [micro_batch, H, W, C]; None if the plan has no room for them.

        Images that are written there and given from there need no memory of their own. Every call with images spoils
        what lies there.
        """
        address, s = self._plan.pictures, self.sizes
        shape = (s.micro_batch, s.height, s.width, s.channels)
        return arrays.bytes_at(address, shape, self._plan) if address else None

    # -- from what the frozen prefix makes of images -----------------------------------------------

    def features(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """What the frozen prefix, the layers in front of all that train, makes of images: [N, sizes.features].

        They stay the same however long the session trains, so that they may be kept in place of images to train on
        again. Where nothing is frozen they are the numbers that the network reads.
        """
        return self._infer(self._plan.features, self._pixels(pixels), self.sizes.features)

    def train_features(self, features: npt.ArrayLike, labels: npt.ArrayLike) -> Step:
        """As :meth:`train` of the images whose features these are, with the same bits and without the frozen prefix.

        Only if dropout lies in the frozen prefix, which :meth:`features` drops nothing in, the bits are others.

        Args:
            features: float32 [N, sizes.features], from :meth:`features`.
            labels: [N] in [0, classes).
        """
        return self._learn(self._plan.train, self._features(features), labels)

    def predict_features(self, features: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Logits [N, classes] of the images whose features these are."""
        return self._infer(self._plan.predict, self._features(features), self.sizes.classes)

    def evaluate_features(self, features: npt.ArrayLike, labels: npt.ArrayLike) -> Step:
        """Loss and recognised images, of those whose features these are."""
        return self._learn(self._plan.evaluate, self._features(features), labels)

    def _pixels(self, pixels: npt.ArrayLike) -> tuple[npt.NDArray[Any], _C.Form]:
        images = arrays.pixels(pixels, self.sizes, self._plan.takes_bytes)
        return images, _C.Form.bytes if images.dtype == np.uint8 else _C.Form.numbers

    def _features(self, features: npt.ArrayLike) -> tuple[npt.NDArray[Any], _C.Form]:
        return arrays.features(features, self.sizes), _C.Form.features

    def _learn(self, call: _OnLabelled, given: tuple[npt.NDArray[Any], _C.Form], labels: npt.ArrayLike) -> Step:
        images, form = given
        targets = arrays.labels(labels, len(images), self.sizes)
        return Step(*call(images.ctypes.data, form, targets.ctypes.data, len(images)))

    def _infer(self, call: _OnImages, given: tuple[npt.NDArray[Any], _C.Form], numbers: int) -> npt.NDArray[np.float32]:
        images, form = given
        out = np.empty((len(images), numbers), np.float32)
        call(images.ctypes.data, form, len(images), out.ctypes.data)
        return out

    # -- with other machines -----------------------------------------------------------------------

    def hold(self, turn: int) -> None:
        """Draws the channels of turn ``turn`` and keeps them until the next call, however many steps they train.

        Sessions that hold one turn of one plan train the same rows without telling each other which. The file does not
        remember it: a session that opens what :meth:`save` wrote draws on from there.

        Raises:
            ValueError: the plan's sampler draws by what was trained, or the turn is none.
        """
        self._plan.hold(_turn(turn))

    @property
    def trainable(self) -> dict[str, tuple[int, ...]]:
        """What trains now: names of tensors of the file, and the shapes of what of them trains.

        First the drawn rows of weights, [kernel_h, kernel_w, channels, outputs of a group], then what trains at every
        turn: classifier, biases, shifts. The same in all sessions of a plan, at every turn.
        """
        return {name: tuple(shape) for name, shape, _ in self._plan.trainable}

    @property
    def drawn_numbers(self) -> int:
        """How many numbers of :meth:`get_trainable`, the first ones, are of rows that another turn changes."""
        return sum(prod(shape) for _, shape, drawn in self._plan.trainable if drawn)

    def get_trainable(self) -> npt.NDArray[np.float32]:
        """The numbers of all that trains now, one tensor of :attr:`trainable` behind the other."""
        out = np.empty(sum(prod(shape) for _, shape, _ in self._plan.trainable), np.float32)
        self._plan.get_trainable(out.ctypes.data)
        return out

    def set_trainable(self, values: npt.ArrayLike) -> None:
        """Sets what :meth:`get_trainable` returns. :meth:`save_delta` is refused then until :meth:`save`.

        Args:
            values: float32, as many numbers in the same order.

        Raises:
            TypeError, ValueError: another type or number of them, or one is not finite; nothing has changed.
        """
        numbers = arrays.flat(values, sum(prod(shape) for _, shape, _ in self._plan.trainable))
        self._plan.set_trainable(numbers.ctypes.data)

    # -- what it knows ---------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """Factor of all learning rates, beside the plan's schedule."""
        return float(self._plan.rate)

    @rate.setter
    def rate(self, factor: float) -> None:
        self._plan.set_rate(float(factor))

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
        """What the file says beside the plan: preprocessing, digest and, without spare classes, their names."""
        return _read_metadata(self._plan)

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the classes, if the file has them."""
        return self._plan.classes

    def add_class(self, name: str) -> int:
        """The next spare output becomes this class; returns its number.

        Its weights begin at zero, those of the others stay as they are. Only in a file that was exported with
        ``spare_classes``; until then a spare output counts in no loss and no logits.

        Raises:
            ValueError: no output is spare, there is such a class, or the name is no UTF-8 of 1 to 63 bytes.
        """
        if not isinstance(name, str):
            raise TypeError(f"name: expected a str, got {type(name).__name__}")
        number = self._plan.add_class(name)
        self.sizes = Sizes(**self._plan.sizes)
        return number

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
        self._plan.save(os.fspath(as_path(path, "path")))

    def save_delta(self, path: str | Path) -> None:
        """Writes what has changed since the session was opened or last saved, by :meth:`save` or by this call.

        :func:`apply_delta` makes a plan file of it again. Of trained weights it holds the input channels that were
        drawn since; with a sampler that draws by what was trained, all that were ever visited.

        Raises:
            PlanFileError: it cannot be written.
        """
        self._plan.save_delta(os.fspath(as_path(path, "path")))

    def __reduce__(self) -> Any:
        raise TypeError("a Session cannot be copied or pickled; save it, and open the file once more")


def _turn(turn: int) -> int:
    number = index(turn)
    if not 0 <= number < 2**64:
        raise ValueError(f"turn: expected 0 to 2^64 - 1, got {number}")
    return number


def metadata_of(file: str | os.PathLike[str]) -> dict[str, Any]:
    """:attr:`Session.metadata` of a plan file, without the memory of a session.

    Raises:
        PlanFileError: it is damaged, foreign or of a newer version.
    """
    return _read_metadata(_open(file))


def _open(file: str | os.PathLike[str]) -> _C.OpenPlan:
    path = os.fspath(file)
    try:
        return _C.OpenPlan(path)
    except PlanFileError as error:
        if path in str(error):
            raise
        raise PlanFileError(f"{path}: {error}") from None


def _read_metadata(plan: _C.OpenPlan) -> dict[str, Any]:
    return {key: json.loads(text) if key in _JSON else text for key, text in plan.metadata.items()}


_OnLabelled = Callable[[int, _C.Form, int, int], tuple[float, int, int]]
_OnImages = Callable[[int, _C.Form, int, int], None]
_JSON = ("classes", "origin", "preprocess", "settings")
