"""Training and prediction from plan files, with numpy and without torch."""

from __future__ import annotations

from .deltas import apply_delta
from .session import Progress, Session, Sizes, Step

__all__ = ["Progress", "Session", "Sizes", "Step", "apply_delta"]
