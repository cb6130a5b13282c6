"""A training forward pass on its way to its backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Engine


class Flight:
    """One training forward pass on its way to its backward. Dropping it abandons the pass."""

    __slots__ = ("__weakref__", "engine", "kept", "open", "shape")

    def __init__(self) -> None:
        self.open = True  # waits for its backward pass
        self.kept = False  # had one and can have another
        self.engine: Engine | None = None
        self.shape: tuple[int, ...] = ()


def landing(engine: Engine) -> Callable[[weakref.ref[Flight]], None]:
    """What frees the arena when a flight is dropped; it keeps the engine alive no longer."""
    owner = weakref.ref(engine)

    def land(flight: weakref.ref[Flight]) -> None:
        engine = owner()
        if engine is not None and engine._flight is flight:
            engine.program.discard()

    return land
