"""A session that learns from pictures as they come into a folder."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.broken import BrokenPicture
from ..data.folders import spelt
from ..errors import PlanFileError, TrainingDiverged
from ..files import as_path
from .board import peak_memory
from .divergence import LARGEST_LOSS
from .draws import Draws
from .encoding import Features
from .locks import only_writer
from .pictures import Reader
from .reservoir import Reservoir, class_names
from .run_file import beside
from .seen_pictures import SeenPictures
from .session import Session
from .stop import StopRequest
from .watched_folder import Picture, WatchedFolder

_PAUSE = 0.2
_LOOKING = 10
"""A pause lasts so many times as long as the look before it, so that a large folder does not keep a board busy."""
_FORGETS = 0.02
"""Share of the newest step in the running loss."""
_LATEST = 8
"""Pictures that are looked at again before each save."""


def watch(
    session: Session,
    folder: str | Path,
    out: str | Path,
    *,
    reservoir: Reservoir | None = None,
    allow_new_classes: bool = False,
    replay: int = 7,
    every: int = 50,
    patience: float = 2.0,
    stop: StopRequest,
    say: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> int:
    """Learns from the pictures in a folder, those that are there and those that come, until it is stopped.

    A step is one new picture and ``replay`` of the reservoir. ``OUT.seen`` beside ``out`` says which pictures are in
    what is saved, so that the next run of the same session goes on with the others (:mod:`.seen_pictures`).

    Args:
        session: that learns.
        folder: with a folder per class, as in FOLDER/cat/0001.jpg.
        out: the plan file that the session is saved to.
        reservoir: gives features of earlier pictures and takes those of the new ones.
        allow_new_classes: whether a folder of another name is a new class, as long as the plan has spare ones. The
            pictures of folders that are no class are left alone, after a word.
        replay: pictures of the reservoir in each step.
        every: pictures from one save to the next.
        patience: seconds after which a file that cannot be read and does not grow is no picture.
        stop: asks to stop, between two steps; what was learned is saved.
        say: takes lines that tell what happens.
        stop_after: pictures after which it stops by itself.

    Returns:
        How many pictures it has learned from.

    Raises:
        TrainingDiverged: the loss grew beyond bounds; ``out`` is as it was saved last.
        PlanFileError, OSError: ``out``, ``OUT.seen`` or the reservoir cannot be written; what was saved last is there.
        ValueError: the plan was exported without preprocessing, ``OUT.seen`` is damaged, or another run writes ``out``.
    """
    settings = _Settings(allow_new_classes, replay, every, patience)
    root, file = as_path(folder, "folder"), as_path(out, "out")
    with only_writer(file):
        watcher = _Watcher(session, root, file, reservoir, settings, say)
        return _learn(watcher, stop, stop_after)


def _learn(watcher: _Watcher, stop: StopRequest, stop_after: int | None) -> int:
    try:
        while stop.signal is None and (stop_after is None or watcher.learned < stop_after):
            begin = time.monotonic()
            pictures = watcher.look()
            pause = max(_PAUSE, _LOOKING * (time.monotonic() - begin))
            before = watcher.learned
            for picture in pictures:
                if stop.signal is not None or watcher.learned == stop_after:
                    break
                watcher.take(picture)
            if watcher.learned == before:
                _wait(pause, stop)
    except (TrainingDiverged, PlanFileError, OSError):
        raise
    except BaseException:  # whatever else happened, what was learned is saved
        watcher.save()
        raise
    watcher.save()
    return watcher.learned


def _wait(seconds: float, stop: StopRequest) -> None:
    """A signal alone does not end a sleep."""
    end = time.monotonic() + seconds
    while stop.signal is None and (left := end - time.monotonic()) > 0:
        time.sleep(min(_PAUSE, left))


@dataclass(frozen=True)
class _Settings:
    """Options of :func:`watch`, as they are called there."""

    allow_new_classes: bool
    replay: int
    every: int
    patience: float


class _Watcher:
    """What :func:`watch` does with one picture after the other."""

    def __init__(
        self,
        session: Session,
        folder: Path,
        out: Path,
        reservoir: Reservoir | None,
        settings: _Settings,
        say: Callable[[str], None],
    ) -> None:
        self._session, self._root, self._out, self._reservoir = session, folder, out, reservoir
        self._settings, self._say = settings, say
        self._reader = Reader(session)
        self._seen = SeenPictures(out, session)
        self._folder = WatchedFolder(folder, self._seen, Draws(session.progress.batches))
        self._passed_over: set[str] = set()  # names of folders that are no class
        self._unreadable: dict[int, float] = {}  # since when, by key
        self._latest: deque[tuple[Features, int]] = deque(maxlen=_LATEST)
        self._loss = 1.0
        self._gone = False
        self.learned = 0
        self._begin_line()
        if len(self._seen):
            say(f"{self._seen.path}: {len(self._seen)} pictures are known")

    def look(self) -> list[Picture]:
        """The pictures that are new; none while the folder is gone, which may lie on a disk that comes back."""
        try:
            found = self._folder.look(self._takes)
        except OSError as error:
            if not self._gone:
                self._say(f"{self._root}: it cannot be read ({error.strerror}); waits for it")
            self._gone = True
            return []
        self._gone = False
        there = {picture.key for picture in found}
        self._unreadable = {key: since for key, since in self._unreadable.items() if key in there}
        return found

    def take(self, picture: Picture) -> None:
        """Learns from a picture, if it can be read."""
        try:
            pixels = self._reader.read(picture.file)
        except BrokenPicture as error:
            self._wait_for(picture, error)
            return
        label = self._label(picture.name)
        if label is None:
            return
        begin = time.perf_counter()
        self._step(self._session.features(pixels[None]), label)
        self._seen.add(picture.key)
        self.learned += 1
        self._seconds += time.perf_counter() - begin
        if self.learned % self._settings.every == 0:
            self.save()

    def save(self) -> None:
        """Saves what was learned since the last time."""
        pictures = self.learned - self._told
        if not pictures:
            return
        self._look_back()
        self._seen.write()
        if self._reservoir is not None:
            self._reservoir.sync()
        beside(self._out).unlink(missing_ok=True)  # a run on a folder cannot go on from what is saved now
        self._session.save(self._out)
        self._seen.saved()
        self._say(
            f"{self.learned} pictures, {self._known / pictures:.0%} known before, loss {self._loss:.3f}, "
            f"{1000 * self._seconds / pictures:.0f} ms a step, at most {peak_memory() / 2**20:.0f} MB; "
            f"{self._out} is saved"
        )
        self._begin_line()

    def _begin_line(self) -> None:
        self._told, self._seconds, self._known = self.learned, 0.0, 0

    def _step(self, new: Features, label: int) -> None:
        features, labels = new, np.array([label], np.int32)
        if self._reservoir is not None:
            self._known += int(self._session.predict_features(new).argmax() == label)
            earlier, theirs = self._reservoir.draw(self._settings.replay)
            features, labels = np.concatenate([features, earlier]), np.append(labels, theirs)
        try:
            step = self._session.train_features(features, labels)
        except FloatingPointError as error:
            raise self._diverged(str(error), math.nan) from error
        self._loss += _FORGETS * (step.loss - self._loss)
        if not self._loss < LARGEST_LOSS:
            raise self._diverged(f"the running loss is {self._loss:.3g}", self._loss)
        if self._reservoir is None:
            self._known += step.correct
        else:
            self._reservoir.add(new, [label])
        self._latest.append((new, label))

    def _look_back(self) -> None:
        """Raises if the last step spoilt the network, which its own loss, from before the update, does not show."""
        pictures, labels = zip(*self._latest, strict=True)
        try:
            loss = self._session.evaluate_features(np.concatenate(pictures), labels).loss
        except FloatingPointError:
            loss = math.nan
        if not loss < LARGEST_LOSS:
            raise self._diverged(f"the loss of the last {len(labels)} pictures is now {loss:.3g}", loss)

    def _diverged(self, what: str, loss: float) -> TrainingDiverged:
        kept = f"{self._out} is as it was saved last" if self._out.exists() else "nothing was saved"
        advice = f"take a smaller rate, a third of {self._session.rate:g}, or export the plan with smaller ones"
        text = f"training diverged after {self.learned} pictures: {what}; {kept}; {advice}"
        return TrainingDiverged(text, 1, self.learned, loss)

    def _wait_for(self, picture: Picture, error: BrokenPicture) -> None:
        """It may still be written: then its size changes, and with it the key that it is known by."""
        since = self._unreadable.setdefault(picture.key, time.monotonic())
        if not picture.file.exists():
            del self._unreadable[picture.key]
        elif time.monotonic() - since >= self._settings.patience:
            self._say(f"{error}; it is passed over")
            self._seen.add(picture.key)
            del self._unreadable[picture.key]

    def _takes(self, name: str) -> bool:
        if name in self._passed_over:
            return False
        if self._settings.allow_new_classes or name in map(spelt, class_names(self._session)):
            return True
        self._pass_over(name, "it is no class of this plan, and new ones are not allowed")
        return False

    def _label(self, name: str) -> int | None:
        """The number of a class, which may be a new one; None if it cannot be."""
        names = [spelt(known) for known in class_names(self._session)]
        if name in names:
            return names.index(name)
        if name in self._passed_over:
            return None
        try:
            number = self._session.add_class(name)
        except ValueError as error:
            self._pass_over(name, str(error))
            return None
        self._say(f"{name}: a new class, number {number}")
        return number

    def _pass_over(self, name: str, why: str) -> None:
        self._passed_over.add(name)
        self._say(f"{self._root / name}: {why}; it is passed over")
