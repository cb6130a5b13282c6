"""Training and prediction from plan files, with numpy and without torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .deltas import apply_delta, make_delta
from .facts import Progress, Sizes, Step
from .session import Session
from .threads import set_threads

if TYPE_CHECKING:
    from .merging import merge_deltas
    from .reservoir import Reservoir
    from .watching import watch

__all__ = [
    "Progress",
    "Reservoir",
    "Session",
    "Sizes",
    "Step",
    "apply_delta",
    "make_delta",
    "merge_deltas",
    "set_threads",
    "watch",
]

#: Where names are that are loaded when they are first asked for: what reads pictures takes 6 MB.
_LATER = {"Reservoir": "reservoir", "merge_deltas": "merging", "watch": "watching"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    return found
