"""What ``train`` prints: one line that is replaced on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..board import peak_memory
from .output import complain, say

if TYPE_CHECKING:
    from types import TracebackType

    from ...data.broken import BrokenPicture
    from ...data.dataset import Dataset
    from ..facts import Step
    from ..held_out import Accuracy
    from ..training_run import TrainingRun

_EVERY = 10.0
_EVERY_ON_A_TERMINAL = 0.2


class Progress:
    """Listens to a run (:class:`..training_run.Listener`), and prints."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._width = 0  # of the line that is to be replaced
        self._last = time.monotonic()
        self._images = self._correct = self._steps = 0
        self._seconds = self._loss = 0.0
        self._broken: set[str] = set()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._print("")

    def begins(self, run: TrainingRun, data: Dataset) -> None:
        sizes, pictures = run.session.sizes, len(data.train)
        self._print(
            f"{pictures:,} pictures of {len(data.classes)} classes, {run.file.steps:,} steps of {sizes.batch}, inside "
            f"{sizes.arena_bytes:,} of {sizes.budget_bytes:,} bytes"
        )
        if run.resumed:
            self._print(f"goes on after step {run.step:,}")

    def measured(self, step: int, steps: int, found: Accuracy) -> None:
        when = "before" if step == 0 else "after" if step == steps else f"after step {step:,}"
        self._print(f"{when}: {found}")

    def trained(self, step: int, steps: int, came_to: Step, images: int, seconds: float) -> None:
        self._steps, self._images = self._steps + 1, self._images + images
        self._correct, self._loss = self._correct + came_to.correct, self._loss + came_to.loss
        self._seconds += seconds
        now = time.monotonic()
        if step < steps and now - self._last < (_EVERY_ON_A_TERMINAL if self._terminal else _EVERY):
            return
        loss, share = self._loss / self._steps, 100 * self._correct / self._images
        line = (
            f"step {step:,} of {steps:,}: loss {loss:.3f}, {share:.0f} % recognised, "
            f"{1000 * self._seconds / self._steps:.0f} ms a step, at most {peak_memory() / 2**20:.0f} MB"
        )
        if self._terminal and step < steps:
            print("\r" + line.ljust(self._width), end="", flush=True)
            self._width = len(line)
        else:
            self._print(line)
        if not self._terminal or step == steps:
            self._images = self._correct = self._steps = 0
            self._seconds = self._loss = 0.0
        self._last = now

    def broken(self, error: BrokenPicture) -> None:
        if error.name not in self._broken:
            self._broken.add(error.name)
            self._clear()
            complain(f"{error}; it is left out")

    def saved(self, step: int, out: Path) -> None:
        if not self._terminal:
            self._print(f"{out}: step {step:,} saved")

    def _print(self, line: str) -> None:
        self._clear()
        if line:
            say(line)

    def _clear(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", flush=True)
            self._width = 0
