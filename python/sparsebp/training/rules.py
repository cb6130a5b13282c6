"""By what numbers each parameter of a program trains: an optimizer's groups, as native code reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

#: Of the mean square that a normalised step divides by, per pass or sum of passes.
SQUARE_DECAY = 0.999

#: A parameter's place: (layer, 0 for the weight, 1 for the bias, 2 for the batch norm's shift).
Slot = tuple[int, int]


class Rules:
    """Learning rate, weight decay, momentum and decay of the mean square of every slot; at first nothing trains.

    Attributes:
        address: of the numbers, float64 [layers, 3, 4]; it stays.
        slots: to which parameter group each slot belongs.
    """

    def __init__(self, layers: int) -> None:
        self._numbers = np.zeros((3 * layers, 4))
        self._numbers[:, 0] = -1.0  # nobody's
        self.address: int = self._numbers.ctypes.data
        self.slots: dict[Slot, int] = {}
        self._rows: dict[int, np.ndarray] = {}  # parameter group -> its rows of the numbers
        self._written: dict[int, tuple[float, ...]] = {}  # parameter group -> what those rows hold

    def assign(self, slots: Mapping[Slot, int]) -> None:
        """Gives slots to parameter groups; the others do not train."""
        self.slots = dict(slots)
        rows: dict[int, list[int]] = {}
        for (layer, which), group in slots.items():
            rows.setdefault(group, []).append(3 * layer + which)
        self._rows = {group: np.array(places) for group, places in rows.items()}
        self._numbers[:, 0] = -1.0
        self._written.clear()

    @property
    def groups(self) -> Iterable[int]:
        """The parameter groups that have a slot."""
        return self._rows

    def refresh(self, groups: Sequence[Mapping[str, Any]], scale: float) -> int:
        """Writes what the groups say now; the address.

        Args:
            groups: the optimizer's ``param_groups``.
            scale: this pass's share of a step.
        """
        for group, places in self._rows.items():
            rule = groups[group]
            # Parts of a batch that are applied one by one add up: normalised ones like the steps of a random walk.
            normalise = rule["normalise"]
            share = math.sqrt(scale) if normalise else scale
            row = (rule["lr"] * share, rule["weight_decay"], rule["momentum"], SQUARE_DECAY if normalise else 0.0)
            if self._written.get(group) != row:
                self._numbers[places] = self._written[group] = row
        return self.address
