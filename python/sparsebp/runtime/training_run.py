"""Training a plan file on a folder of pictures, so that it can be stopped and killed at any moment and goes on."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..data.broken import BrokenPicture
from ..errors import TrainingDiverged
from . import seen_pictures
from .divergence import LARGEST_LOSS
from .draws import Draws
from .held_out import Accuracy, accuracy
from .order import Order
from .pictures import Reader
from .run_file import DONE, RUNNING, STARTING, RunFile, beside
from .session import Session, metadata_of

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from .facts import Step
    from .stop import StopRequest


@dataclass(frozen=True)
class Settings:
    """What the result of a run depends on, beside plan and pictures.

    Attributes:
        epochs: passes over the training pictures; None with ``steps``, or for as long as the plan's schedule lasts.
        steps: of the whole run, instead.
        seed: of the order of the pictures and of which are mirrored.
        rate: factor of the plan's learning rates.
        mirror: whether a picture is mirrored, left to right, every other time.
    """

    epochs: int | None = None
    steps: int | None = None
    seed: int = 0
    rate: float = 1.0
    mirror: bool = False


class Listener(Protocol):
    """Who is told of a run as it goes on."""

    def measured(self, step: int, steps: int, found: Accuracy) -> None: ...
    def trained(self, step: int, steps: int, came_to: Step, images: int, seconds: float) -> None: ...
    def broken(self, error: BrokenPicture) -> None: ...
    def saved(self, step: int, out: Path) -> None: ...


_SMOOTH = 20  # steps that the running loss is the mean of, about


class TrainingRun:
    """A run, begun or gone on with.

    Args:
        plan: the plan file to begin with.
        data: training and held-out pictures.
        out: the plan file that is written, at first right away, then every ``every`` steps; beside it lies what the run
            needs to go on (:mod:`.run_file`). May be ``plan``.
        settings: of the run.
        every: steps from one save to the next.
        resume: goes on with a run of the same ``out``, if there is one.
        overwrite: may replace an ``out`` that is no part of this run.
        new_classes: may add classes that the pictures have and the plan has not.

    Raises:
        PlanFileError: a plan file is damaged.
        FileExistsError: ``out`` exists, and neither ``resume`` nor ``overwrite`` was asked for.
        ValueError: settings, pictures or classes do not fit the plan or the run that is gone on with.
    """

    def __init__(
        self,
        plan: Path,
        data: Dataset,
        out: Path,
        settings: Settings,
        *,
        every: int = 200,
        resume: bool = False,
        overwrite: bool = False,
        new_classes: bool = False,
    ) -> None:
        self.out, self.every = out, every
        self._data, self._settings, self._loss = data, settings, 0.0
        file = beside(out)
        found = RunFile.read(file) if resume and file.exists() and out.exists() else None
        self.resumed = found is not None and found.state != STARTING
        if found is None:
            check_replaceable(plan, out, resume, overwrite)
        self._in_place = out.exists() and plan.exists() and out.samefile(plan)
        self.session = Session(out if self.resumed else plan)
        self.session.rate = settings.rate
        self._reader = Reader(self.session)
        self.labels = _labels(self.session, data.classes, new_classes)
        self._order = Order(len(data.train), self.session.sizes.batch, settings.seed)
        self.file = found or RunFile(
            file, self._digest(), self.session.progress.batches, self._steps(), asdict(settings), self._pictures()
        )
        if found is not None:
            self._check_same(found, metadata_of(plan).get("plan_digest", ""))

    @property
    def step(self) -> int:
        """Steps that are behind."""
        return self.session.progress.batches - self.file.begin

    def run(self, listener: Listener, stop: StopRequest) -> Accuracy:
        """Trains to the end; what the held-out pictures come to then.

        Raises:
            Interrupted: a signal asked for it; ``out`` holds everything up to then.
            TrainingDiverged: the loss is no number any more; ``out`` holds what was saved last.
            OSError, PlanFileError: ``out`` cannot be written; what was saved last is there.
        """
        if self.file.state == STARTING:
            self.file.write()
            if not self._in_place:  # what --watch made of an earlier OUT is not in this one
                seen_pictures.beside(self.out).unlink(missing_ok=True)
            self.session.save(self.out)
            self.file.state = RUNNING
            self.file.write()
        try:
            if self.step < self.file.steps:
                self._measure(listener, stop)
            while self.step < self.file.steps:
                stop.check(self.out)
                self._train(listener)
                if self.step % self.every == 0 and self.step < self.file.steps:
                    self._save(listener)
                if self.step % self._order.steps == 0 and self.step < self.file.steps:
                    self._measure(listener, stop)
        except KeyboardInterrupt:
            self._save(listener)
            raise
        if self.file.state != DONE:
            self._save(listener)
        found = self._measure(listener, stop)
        self.file.state = DONE
        self.file.write()
        return found

    def _train(self, listener: Listener) -> None:
        begin, step = time.perf_counter(), self.step
        pixels, labels = self._batch(step, listener)
        try:
            came_to = self.session.train(pixels, labels)
            self._loss += (came_to.loss - self._loss) / _SMOOTH
            if not self._loss < LARGEST_LOSS:
                raise FloatingPointError(f"the running loss is {self._loss:.3g}")
        except FloatingPointError as error:
            raise TrainingDiverged(
                f"step {step + 1}: training diverged, {error}; {self.out} is as it was saved last. Take a smaller "
                f"--rate, a third of {self._settings.rate:g}, and begin anew",
                step // self._order.steps + 1,
                step + 1,
                float("nan"),
                self.out,
            ) from error
        listener.trained(step + 1, self.file.steps, came_to, len(labels), time.perf_counter() - begin)

    def _batch(self, step: int, listener: Listener) -> tuple[np.ndarray, list[int]]:
        """Pixels and labels of a step. Who cannot be read is replaced by the next in the order who can."""
        train = self._data.train
        wanted, others = self._order.rows(step)
        waiting = iter(others)
        pixels, labels = [], []
        for place, first in enumerate(wanted):
            for index in chain((first,), waiting):
                try:
                    picture = self._reader.of(train, index)
                except BrokenPicture as error:
                    listener.broken(error)
                    continue
                pixels.append(picture[:, ::-1] if self._mirrors(step, place) else picture)
                labels.append(self.labels[int(train.labels[index])])
                break
        if not pixels:
            raise ValueError("data: none of the training pictures can be read")
        return np.stack(pixels), labels

    def _mirrors(self, step: int, place: int) -> bool:
        number = step * self.session.sizes.batch + place
        return self._settings.mirror and Draws(self._settings.seed, number).below(2) == 1

    def _measure(self, listener: Listener, stop: StopRequest) -> Accuracy:
        """Tests on the held-out pictures, unless that was done at this step already."""
        key = str(self.step)
        if key in self.file.accuracy:
            correct, of, loss = self.file.accuracy[key]
            found = Accuracy(int(correct), int(of), loss)
        else:
            between = lambda: stop.check(self.out)  # noqa: E731
            found = accuracy(self.session, self._data.test, self.labels, self._reader, between, listener.broken)
            self.file.accuracy[key] = [found.correct, found.of, found.loss]
            self.file.write()
        listener.measured(self.step, self.file.steps, found)
        return found

    def _save(self, listener: Listener) -> None:
        self.session.save(self.out)
        listener.saved(self.step, self.out)

    def _steps(self) -> int:
        settings, recipe = self._settings, self.session.plan["recipe"]
        if settings.steps is not None:
            return settings.steps
        if settings.epochs is not None:
            return settings.epochs * self._order.steps
        left = int(recipe["steps"]) - self.session.progress.batches
        return left if left > 0 else self._order.steps

    def _digest(self) -> str:
        return str(self.session.metadata.get("plan_digest", ""))

    def _pictures(self) -> str:
        return f"{self._data.train.fingerprint()} {self._data.test.fingerprint()}"

    def _check_same(self, found: RunFile, given: str) -> None:
        if found.plan != self._digest() or found.plan != given:
            raise ValueError(f"plan: the run of {self.out} has another plan; --overwrite without --resume begins anew")
        if found.pictures != self._pictures():
            raise ValueError(
                f"data: the pictures have changed since the run of {self.out} began; end it with those of then, or "
                "begin anew with --overwrite without --resume"
            )
        if not 0 <= self.step <= found.steps:
            raise ValueError(
                f"out: {self.out} has {self.step} steps more than when its run of {found.steps} steps began, so that "
                "something else has written it; begin anew with --overwrite without --resume"
            )
        asked = {**asdict(self._settings), "length": self._steps_asked()}
        begun = {**found.settings, "length": found.steps if self._steps_asked() is not None else None}
        for name in ("seed", "rate", "mirror", "length"):
            if asked[name] != begun[name]:
                raise ValueError(
                    f"{name}: the run of {self.out} began with {begun[name]}, now it is {asked[name]}; leave it as it "
                    "was, or begin anew with --overwrite without --resume"
                )

    def _steps_asked(self) -> int | None:
        settings = self._settings
        return settings.steps if settings.steps is not None else settings.epochs and settings.epochs * self._order.steps


def check_replaceable(plan: Path, out: Path, resume: bool, overwrite: bool) -> None:
    """Raises FileExistsError if ``out`` is a file that nobody asked to replace."""
    if not out.exists() or overwrite or (plan.exists() and out.samefile(plan)):
        return
    raise FileExistsError(
        f"out: {out} exists and belongs to no run that could be resumed; --overwrite replaces it"
        if resume
        else f"out: {out} exists; --resume goes on with its run if it has one, --overwrite replaces it"
    )


def _labels(session: Session, classes: tuple[str, ...], new_classes: bool) -> list[int]:
    """What number each class of the pictures has in the session."""
    known = session.classes
    if known is None:
        if len(classes) != session.sizes.classes:
            raise ValueError(
                f"data: the plan has {session.sizes.classes} classes without names, the pictures have {len(classes)}"
            )
        return list(range(len(classes)))
    unknown = [name for name in classes if name not in known]
    spare = session.sizes.outputs - session.sizes.classes
    if unknown and not new_classes:
        raise ValueError(
            f"data: the plan has no class {', '.join(unknown)}; it has {', '.join(known)}"
            + (f", and room for {spare} more: --allow-new-classes adds them" if spare else "")
        )
    for name in unknown:
        session.add_class(name)
    known = session.classes or ()
    return [list(known).index(name) for name in classes]
