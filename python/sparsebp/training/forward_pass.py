"""Training forward passes that wait for their backward pass, and which of several may still have one."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch

USED = "this forward pass was used already, or an error ended it"
SUPERSEDED = "a newer training forward pass of this model or layer took this one's place"


class ForwardPass:
    """One training forward pass. Dropping it abandons it: the backward pass will not come.

    Attributes:
        open: it waits for its backward pass.
        kept: it had one, and can have another.
        node: the node of the autograd graph that goes back through it.
        context: what whoever began it needs to go back.
        images: that go through it.
    """

    __slots__ = ("__weakref__", "_over", "context", "images", "kept", "node", "open")

    def __init__(self, images: int) -> None:
        self.images = images
        self.open = True
        self.kept = False
        self.node: weakref.ref[Any] | None = None
        self.context: Any = None
        self._over = USED

    @property
    def over(self) -> str:
        """Why it cannot go back, once it cannot."""
        return self._over

    def supersede(self) -> None:
        """A newer pass takes its place."""
        if self.open:
            self._over = SUPERSEDED
            with _lock:
                _superseded.add(self)
        self.open = self.kept = False


#: Passes whose place was taken and whose output somebody still holds, of all threads.
_superseded: weakref.WeakSet[ForwardPass] = weakref.WeakSet()
_lock = threading.Lock()


def check_alone() -> None:
    """Raises RuntimeError if the backward pass that runs now will also reach a superseded forward pass.

    That one would raise later on, when the weights of others have changed.
    """
    with _lock:
        passes = list(_superseded)
    for forward_pass in passes:
        node = forward_pass.node() if forward_pass.node is not None else None
        if node is not None and torch._C._will_engine_execute_node(node):
            raise RuntimeError(
                f"backward: this loss needs two training forward passes, and for one of them {SUPERSEDED}. Nothing was "
                "updated. Send the images through together (sparsebp.fit_step takes any number), or call backward "
                "after each forward pass"
            )


class ForwardPasses:
    """The training forward passes of one program, of which only the last can go back.

    Args:
        discard: frees what a pass has saved; called when its backward pass will not come. A bound method, kept weakly.
    """

    def __init__(self, discard: Callable[[], object]) -> None:
        self._discard_saved = weakref.WeakMethod(discard)
        self._last: weakref.ref[ForwardPass] | None = None

    @property
    def last(self) -> ForwardPass | None:
        """The last pass, while something holds its output."""
        return self._last() if self._last is not None else None

    def begin(self, images: int) -> ForwardPass:
        """A pass whose forward part has run. Dropped, it frees the arena, and keeps nothing alive until then."""
        forward_pass, owner = ForwardPass(images), weakref.ref(self)

        def dropped(reference: weakref.ref[ForwardPass]) -> None:
            own = owner()
            if own is not None and own._last is reference:
                own._discard()

        self._last = weakref.ref(forward_pass, dropped)
        return forward_pass

    def supersede(self) -> None:
        """Makes room for the next pass, which takes the place of one that still waits for its backward."""
        last = self.last
        if last is not None:
            last.supersede()
        if self._last is not None:
            self._last = None
            self._discard()

    def abandon(self) -> None:
        """Gives up the last pass, whoever still holds its output."""
        last = self.last
        if last is not None:
            last.open = last.kept = False
        self._last = None
        self._discard()

    def check(self, forward_pass: ForwardPass) -> None:
        """Raises RuntimeError unless this pass can go back now."""
        if forward_pass is not self.last or not (forward_pass.open or forward_pass.kept):
            raise RuntimeError(
                f"backward: {forward_pass.over}; its saved channels are gone. Run the forward pass again, and its "
                "backward pass before the next training forward (retain_graph has no effect here)"
            )

    def _discard(self) -> None:
        discard = self._discard_saved()
        if discard is not None:
            discard()
