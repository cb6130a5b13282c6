"""Ctrl-C and SIGTERM as a request to stop between two steps."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A run ended early because a signal asked for it.

    Attributes:
        signal: its number.
        checkpoint: where the run can be resumed from; None if nothing was to be saved.
    """

    def __init__(self, number: int, checkpoint: Path | None = None) -> None:
        kept = f"; resume from {checkpoint}" if checkpoint else ""
        super().__init__(f"stopped by {signal.Signals(number).name}{kept}")
        self.signal = number
        self.checkpoint = checkpoint


class StopRequest:
    """While it is entered, the first SIGINT or SIGTERM is only noted; the second interrupts at once.

    With updates in place a step cannot be taken back, so that a run stops between two of them. Nor can a request
    get lost, as an exception does that is raised inside a library's ``except:``. Outside the main thread Python
    allows no signal handlers, and this does nothing.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._ending = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._ending:
            return  # an exception now would only disturb the one that is on its way
        if self.signal is not None:
            self._ending = True
            raise Interrupted(number)
        self.signal = number

    def check(self, checkpoint: Path | None = None, number: int | None = None) -> None:
        """Raises :class:`Interrupted` if a stop was asked for, here or, with ``number``, elsewhere."""
        number = self.signal if number is None else number
        if number is not None:
            self._ending = True
            raise Interrupted(number, checkpoint)
