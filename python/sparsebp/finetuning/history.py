"""Where a run is, and how it went so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .confusion import Confusion
from .evaluation import Evaluation

_SMOOTHING = 0.98
"""Weight of the past in the running loss: an average over about the last fifty batches."""
_POINTS = 500
"""How many losses of a run are kept for its curve."""


@dataclass(frozen=True)
class Position:
    """How far a run is.

    Attributes:
        epoch: epochs trained and evaluated.
        step: batches done in the current epoch; equal to ``steps_per_epoch`` when only its evaluation is due.
        steps_per_epoch: batches of an epoch.
        epochs: epochs in all.
    """

    epoch: int
    step: int
    steps_per_epoch: int
    epochs: int

    @property
    def done(self) -> float:
        """Share of all batches that are done."""
        return (self.epoch * self.steps_per_epoch + self.step) / (self.epochs * self.steps_per_epoch)

    @property
    def finished(self) -> bool:
        """Whether every epoch is trained and evaluated."""
        return self.epoch == self.epochs


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes:
        number: counted from 1.
        loss: smoothed training loss at its end.
        accuracy: share of the test pictures that are classified correctly.
        test_loss: mean cross entropy on the test pictures.
        coverage: share of the planned layers' convolution weights that were trained at least once, so far.
        learned_from: share of its pictures whose backward pass ran.
        collapsed: whether the test pictures looked all the same to the network (:attr:`Evaluation.collapsed`).
        untested: names of the classes that had no test picture.
        balanced: mean of the tested classes' accuracies.
    """

    number: int
    loss: float
    accuracy: float
    test_loss: float
    coverage: float
    learned_from: float
    collapsed: bool = False
    untested: list[str] = field(default_factory=list)
    balanced: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON gives back exactly."""
        return asdict(self)


@dataclass(frozen=True)
class Kept:
    """The weights that a run ended with, if not those of its last epoch as a matter of course.

    Attributes:
        epochs: numbers of the epochs whose weights these are the mean of; of one, they are its own.
        accuracy, balanced, test_loss: as of an epoch.
    """

    epochs: list[int]
    accuracy: float
    balanced: float
    test_loss: float

    def __str__(self) -> str:
        if len(self.epochs) == 1:
            return f"epoch {self.epochs[0]}"
        return f"the mean of epochs {self.epochs[0]} to {self.epochs[-1]}"


@dataclass
class History:
    """Losses and accuracies of a run.

    Attributes:
        epochs: the epochs so far.
        losses: (epochs done, smoothed training loss), some hundred of them over a run.
        loss: the smoothed training loss now; None before the first batch.
        first: the loss of the first batch, before any update.
        skipped: names of pictures that could not be read.
        seen, learned_from: pictures of the current epoch so far, those that rest in it included, and how many of them
            had a backward pass.
        classes: of each class by name, how many test pictures there were when they were last tested (``"pictures"``)
            and how many of them got their label (``"correct"``).
        confusion: of each class by name, for which classes its test pictures were taken then, and how many of them; see
            :meth:`.Confusion.to_dict`. Empty where an earlier sparsebp finished the run.
        kept: what the run ended with; None for its last epoch.
    """

    epochs: list[Epoch] = field(default_factory=list)
    losses: list[tuple[float, float]] = field(default_factory=list)
    loss: float | None = None
    first: float | None = None
    skipped: list[str] = field(default_factory=list)
    seen: int = 0
    learned_from: int = 0
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)
    kept: Kept | None = None

    @property
    def accuracy(self) -> float:
        """Of what the run ended with."""
        return self.epochs[-1].accuracy if self.kept is None else self.kept.accuracy

    @property
    def last_test(self) -> Confusion | None:
        """What the test pictures were taken for when they were last tested: in the end by what the run ended with."""
        return Confusion.from_dict(self.confusion) if self.confusion else None

    def add_loss(self, loss: float, after: Position) -> float:
        """Takes in the loss of a batch; returns the smoothed one."""
        self.loss = loss if self.loss is None else _SMOOTHING * self.loss + (1 - _SMOOTHING) * loss
        every = max(1, after.epochs * after.steps_per_epoch // _POINTS)
        if after.step % every == 0 or after.step == after.steps_per_epoch:
            self.losses.append((after.epoch + after.step / after.steps_per_epoch, self.loss))
        return self.loss

    def end_epoch(self, number: int, test: Evaluation, classes: Sequence[str], coverage: float) -> Epoch:
        """Adds what an epoch came to; only after a batch."""
        assert self.loss is not None
        learned_from = self.learned_from / max(1, self.seen)
        untested = test.untested(classes)
        judged = (test.accuracy, test.loss, coverage, learned_from, test.collapsed, untested)
        epoch = Epoch(number, self.loss, *judged, self._tested(test, classes).balanced)
        self.epochs.append(epoch)
        self.seen = self.learned_from = 0
        return epoch

    def end(self, epochs: list[int], test: Evaluation, classes: Sequence[str]) -> Kept:
        """Notes that the run ended with the weights of these epochs, which were tested once more."""
        self.kept = Kept(epochs, test.accuracy, self._tested(test, classes).balanced, test.loss)
        return self.kept

    def _tested(self, test: Evaluation, classes: Sequence[str]) -> Confusion:
        found = test.confusion(classes)
        self.classes, self.confusion = found.by_class, found.to_dict()
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON gives back exactly."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> History:
        """The inverse of :meth:`to_dict`."""
        return cls(
            [Epoch(**e) for e in data["epochs"]],
            [(float(at), float(loss)) for at, loss in data["losses"]],
            data["loss"],
            data.get("first"),
            list(data["skipped"]),
            int(data["seen"]),
            int(data["learned_from"]),
            classes={name: dict(counts) for name, counts in data.get("classes", {}).items()},
            confusion={name: dict(counts) for name, counts in data.get("confusion", {}).items()},
            kept=Kept(**data["kept"]) if data.get("kept") else None,
        )
