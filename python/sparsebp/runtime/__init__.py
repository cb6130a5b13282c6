"""Training and prediction from plan files, with numpy and without torch."""

from __future__ import annotations

from .deltas import apply_delta
from .facts import Progress, Sizes, Step
from .session import Session

__all__ = ["Progress", "Session", "Sizes", "Step", "apply_delta"]
