"""What a run looks like while it runs: bars in a terminal, a line now and then in a file."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ..data import BrokenPicture
from ..data.dataset import listed
from ..finetuning import Change, Epoch, Kept, Observer, Position, Settings
from ..finetuning.recipe import FEW, Choice
from ..planning.plan import Plan
from ..units import format_bytes
from .console import err, is_terminal, out, print_pairs
from .report import without

WINDOW = 30.0
"""Seconds over which throughput is averaged."""
LINE_EVERY = 10.0
"""Least seconds between two lines in a file."""
LINE_AFTER = 60.0
"""Seconds after which there is a line in any case."""
LINES_PER_EPOCH = 10
"""How many lines an epoch has in a file, if that is not too often."""


class Throughput:
    """Pictures per second over the last :data:`WINDOW` seconds."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, int]] = deque()
        self._images = 0

    def add(self, images: int, now: float) -> None:
        """``images`` were done at ``now``."""
        self._events.append((now, images))
        self._images += images
        while len(self._events) > 2 and now - self._events[0][0] > WINDOW:
            self._images -= self._events.popleft()[1]

    @property
    def per_second(self) -> float | None:
        """None until there are two events to tell a time between."""
        if len(self._events) < 2:
            return None
        seconds = self._events[-1][0] - self._events[0][0]
        return (self._images - self._events[0][1]) / seconds if seconds > 0 else None


def format_seconds(seconds: float) -> str:
    """``83`` as ``1:23``, ``3683`` as ``1:01:23``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class RunProgress(Observer):
    """Shows a run; use it as a context manager.

    Args:
        images: training pictures of an epoch.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._speed = Throughput()
        self._started = time.monotonic()
        self._epoch_started = self._started
        self._fancy = is_terminal(sys.stderr)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._line_at = 0.0
        self._line_step = 0
        self._balances = False

    def __enter__(self) -> RunProgress:
        if self._fancy:
            columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[more]}"), console=err, transient=True)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    # -- events ----------------------------------------------------------------------------------

    def chosen(self, choices: Sequence[Choice], few: Mapping[str, int]) -> None:
        out.print("settings, chosen where they are not given:")
        print_pairs((f"  {choice.name.replace('_', '-')}", f"{_said(choice)}: {choice.why}") for choice in choices)
        if few:
            sizes = listed([f"{name} {count}" for name, count in few.items()])
            print_pairs([("warning", f"fewer than {FEW} training pictures of a class teach little of it: {sizes}")])

    def settled(self, settings: Settings) -> None:
        self._balances = settings.balance != "none"

    def planned(self, plan: Plan, start: Position) -> None:
        rows = [
            ("plan", f"{len(plan.layers)} layers from {plan.layers[0].name} train, {plan.update_ratio:.2%} of the "
                     f"convolution weights a step"),
            ("memory", f"{plan.peak_bytes:,} of {plan.budget:,} bytes, gradients {plan.gradients}"),
            ("length", f"{start.epochs} epoch{'s' * (start.epochs > 1)} of {start.steps_per_epoch:,} "
                       f"step{'s' * (start.steps_per_epoch > 1)}"),
        ]  # fmt: skip
        if plan.reach.trainable < plan.reach.layers:
            rows.insert(1, ("can train", str(plan.reach)))
        print_pairs(rows)
        if start.finished:
            out.print("this run is finished already")
        elif start.epoch or start.step:
            out.print(f"resumed: epoch {start.epoch + 1}, step {start.step} of {start.steps_per_epoch}")
        self._started = self._epoch_started = time.monotonic()

    def changed(self, change: Change) -> None:
        when = "too late for this run" if change.epoch is None else f"learned from in epoch {change.epoch}"
        new = f"{change.new:,} new, {when}; " if change.new else ""
        gone = f"{change.gone:,} gone; " if change.gone else ""
        out.print(f"pictures: {new}{gone}{change.tests:,} to test with")

    def caching(self, done: int, total: int, size: int, where: str) -> None:
        if done == 0:
            place = "on disk" if where == "disk" else "in memory"
            out.print(f"cache: {format_bytes(size)} ({size:,} bytes) {place} for {total:,} pictures")
        self._show("frozen layers", done, total)
        self._started = self._epoch_started = time.monotonic()

    def stepped(self, position: Position, loss: float, images: int) -> None:
        self._speed.add(images, time.monotonic())
        more = f"loss {loss:.4f}"
        speed = self._speed.per_second
        if speed:
            left = (1 - position.done) * position.epochs * self._images / speed
            more += f"  {speed:.0f} images/s  {format_seconds(left)} left"
        self._show(f"epoch {position.epoch + 1}/{position.epochs}", position.step, position.steps_per_epoch, more)

    def evaluating(self, done: int, total: int) -> None:
        if self._fancy:
            self._show("test", done, total)

    def epoch_ended(self, epoch: Epoch) -> None:
        now = time.monotonic()
        took, self._epoch_started = format_seconds(now - self._epoch_started), now
        out.print(
            f"epoch {epoch.number}: test accuracy {epoch.accuracy:.2%}{without(epoch.untested)}, "
            f"{self._balanced(epoch)}test loss {epoch.test_loss:.4f}, "
            f"training loss {epoch.loss:.4f}, coverage {epoch.coverage:.1%}, {_learned_from(epoch)}{took}"
        )
        if epoch.collapsed:
            out.print("all test pictures look the same to the network; if that stays so, take a third of --lr")
        self._speed = Throughput()

    def ended(self, kept: Kept | None, early: bool) -> None:
        if early:
            what = ", by balanced accuracy," * self._balances
            out.print(f"the last epochs were no better{what} than one before: training ends early (--patience)")
        if kept is not None:
            out.print(f"kept: {kept}, test accuracy {kept.accuracy:.2%}, {self._balanced(kept)}"
                      f"test loss {kept.test_loss:.4f}")  # fmt: skip

    def skipped(self, picture: BrokenPicture) -> None:
        err.print(f"skipped: {picture}")

    @property
    def seconds(self) -> float:
        """Since training began."""
        return time.monotonic() - self._started

    def _balanced(self, tested: Epoch | Kept) -> str:
        """Where classes are balanced, what epochs are judged by."""
        return f"balanced accuracy {tested.balanced:.2%}, " if self._balances else ""

    # -- display ---------------------------------------------------------------------------------

    def _show(self, what: str, done: int, total: int, more: str = "") -> None:
        if self._bar is not None:
            if self._task is None or what != self._what:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(what, more="")
            self._bar.update(self._task, completed=done, total=total, more=more)
        elif self._line_is_due(what, done, total):
            err.print(f"{what}  {done / total:4.0%}  {done}/{total}  {more}".rstrip())
        self._what = what

    def _line_is_due(self, what: str, done: int, total: int) -> bool:
        now = time.monotonic()
        if what != self._what:
            self._line_at, self._line_step = now, done
            return False
        enough = (done - self._line_step) * LINES_PER_EPOCH >= total and now - self._line_at >= LINE_EVERY
        if not enough and now - self._line_at < LINE_AFTER:
            return False
        self._line_at, self._line_step = now, done
        return True


def _said(choice: Choice) -> str:
    """The value of a setting, as an option takes it."""
    value: Any = choice.value
    if value is None:
        return "the default"
    if choice.name == "input_size":
        height, width = (value, value) if isinstance(value, int) else value
        return str(height) if height == width else f"{height}x{width}"
    return str(value) if isinstance(value, (str, int, float)) else ",".join(value) or "none"


def _learned_from(epoch: Epoch) -> str:
    """What share of the pictures was learned from, if not all."""
    return f"learned from {epoch.learned_from:.0%}, " if epoch.learned_from < 1 else ""
