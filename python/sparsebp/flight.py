"""A training forward pass on its way to its backward pass, and which of several may still go back."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .engine import Engine

USED = "this forward pass was used already, or an error ended it"
SUPERSEDED = "a newer training forward pass of this model or layer took this one's place"


class Flight:
    """One training forward pass on its way to its backward. Dropping it abandons the pass."""

    __slots__ = ("__weakref__", "engine", "kept", "node", "open", "over", "shape")

    def __init__(self) -> None:
        self.open = True  # waits for its backward pass
        self.kept = False  # had one and can have another
        self.over = USED  # why it cannot go back, once it cannot
        self.node: weakref.ref[Any] | None = None  # of the autograd graph, which goes back through it
        self.engine: Engine | None = None
        self.shape: tuple[int, ...] = ()

    def supersede(self) -> None:
        """A newer pass takes its place."""
        if self.open:
            self.over = SUPERSEDED
            with _lock:
                _superseded.add(self)
        self.open = self.kept = False


#: Flights whose place was taken and whose output somebody still holds, of all threads.
_superseded: weakref.WeakSet[Flight] = weakref.WeakSet()
_lock = threading.Lock()


def check_alone() -> None:
    """Raises RuntimeError if the backward pass that runs now will also reach a superseded flight.

    That one would raise later on, when the weights of others have changed.
    """
    with _lock:
        flights = list(_superseded)
    for flight in flights:
        node = flight.node() if flight.node is not None else None
        if node is not None and torch._C._will_engine_execute_node(node):
            raise RuntimeError(
                f"backward: this loss needs two training forward passes, and for one of them {SUPERSEDED}. Nothing was "
                "updated. Send the images through together (sparsebp.fit_step takes any number), or call backward "
                "after each forward pass"
            )


class Runway:
    """The training passes of one engine, of which only the last can go back."""

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        self._last: weakref.ref[Flight] | None = None

    @property
    def flight(self) -> Flight | None:
        """The last pass, while something holds its output."""
        return self._last() if self._last is not None else None

    def take_off(self) -> Flight:
        """A pass whose forward part has run. Dropped, it frees the arena, and keeps nothing alive until then."""
        flight, runway = Flight(), weakref.ref(self)

        def land(dropped: weakref.ref[Flight]) -> None:
            own = runway()
            if own is not None and own._last is dropped:
                own._discard()

        self._last = weakref.ref(flight, land)
        return flight

    def clear(self) -> None:
        """Makes room for the next pass, which takes the place of one that still waits for its backward."""
        flight = self.flight
        if flight is not None:
            flight.supersede()
        if self._last is not None:
            self._last = None
            self._discard()

    def abandon(self) -> None:
        """Gives up the pass in flight, whoever still holds its output."""
        flight = self.flight
        if flight is not None:
            flight.open = flight.kept = False
        self._last = None
        self._discard()

    def check(self, flight: Flight) -> None:
        """Raises RuntimeError unless this pass can go back now."""
        if flight is not self.flight or not (flight.open or flight.kept):
            raise RuntimeError(
                f"backward: {flight.over}; its saved channels are gone. Run the forward pass again, and its backward "
                "pass before the next training forward (retain_graph has no effect here)"
            )

    def _discard(self) -> None:
        engine = self._engine()
        if engine is not None:
            engine.program.discard()
