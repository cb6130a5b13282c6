"""Training and prediction from plan files, with numpy and without torch."""

from __future__ import annotations

from .deltas import apply_delta, make_delta
from .facts import Progress, Sizes, Step
from .session import Session
from .threads import set_threads

__all__ = ["Progress", "Session", "Sizes", "Step", "apply_delta", "make_delta", "set_threads"]
