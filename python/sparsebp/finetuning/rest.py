"""Pictures that were learned already rest for some epochs: not even their forward pass runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

MOST = 254
"""Epochs of rest: what a byte counts, and one."""


class Rests:
    """Which pictures rest.

    Args:
        places: how many pictures an epoch can show, by number.
        epochs: for which a picture rests that was learned already; 0 for none.
    """

    def __init__(self, places: int, epochs: int) -> None:
        self._epochs = epochs
        # Epochs that a picture sits out from now on; one more, if it was found to be learned in this epoch.
        self._left = torch.zeros(places if epochs else 0, dtype=torch.uint8)

    def due(self, rows: list[list[int]]) -> list[list[int]]:
        """The pictures of each step, without those that rest in this epoch."""
        if not self._epochs:
            return rows
        rests = ((self._left > 0) & (self._left <= self._epochs)).tolist()
        return [[index for index in row if not rests[index]] for row in rows]

    def learned(self, indices: Sequence[int], which: torch.Tensor) -> None:
        """Notes, for the pictures of a step, which of them were learned already: bool [n]."""
        if self._epochs:
            self._left[torch.as_tensor(indices, dtype=torch.int64)[which]] = self._epochs + 1

    def end_epoch(self) -> None:
        """An epoch of rest is over."""
        self._left -= (self._left > 0).to(torch.uint8)

    @property
    def state(self) -> torch.Tensor | None:
        """What :meth:`go_on` takes; None where pictures never rest."""
        return self._left.clone() if self._epochs else None

    def go_on(self, state: torch.Tensor) -> None:
        """As it was.

        Raises:
            ValueError: it is of other pictures.
        """
        if state.dtype != self._left.dtype or state.shape != self._left.shape:
            raise ValueError(f"expected {len(self._left)} pictures that may rest, got {list(state.shape)}")
        self._left.copy_(state)


def check_rest(epochs: int) -> None:
    """Raises TypeError or ValueError unless pictures can rest for so many epochs."""
    if isinstance(epochs, bool) or not isinstance(epochs, int):
        raise TypeError(f"rest: expected a whole number of epochs, got {epochs!r}")
    if not 0 <= epochs <= MOST:
        raise ValueError(f"rest: expected 0 to {MOST} epochs, got {epochs}")


def check_some_rest(epochs: int, skip_above: float) -> None:
    """Raises ValueError where pictures are to rest, and none counts as learned."""
    if epochs and skip_above >= 1:
        raise ValueError(
            f"rest: with skip_above={skip_above:g} no picture counts as learned, so that none can rest; give a "
            "probability below 1, such as 0.9"
        )
