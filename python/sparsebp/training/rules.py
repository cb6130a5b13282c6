"""By what numbers each parameter of a program trains: an optimizer's groups, as native code reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import _C

#: Of the mean square that a normalised step divides by, per pass or sum of passes.
SQUARE_DECAY = _C.SQUARE_DECAY

#: A parameter's place: (layer, 0 for the weight, 1 for the bias, 2 for the batch norm's shift).
Slot = tuple[int, int]


class Rules:
    """Gives the parameters of a trainer's program to an optimizer's groups; the others do not train.

    Args:
        trainer: whose rules these are from now on.
        slots: to which parameter group each slot belongs.
    """

    def __init__(self, trainer: _C.Trainer, slots: Mapping[Slot, int] | None = None) -> None:
        self.slots = dict(slots or {})
        trainer.clear_rules()
        places: dict[int, list[Slot]] = {}
        for slot, group in self.slots.items():
            places.setdefault(group, []).append(slot)
        self._groups = {group: _C.RuleGroup(trainer, own) for group, own in places.items()}

    @property
    def groups(self) -> Iterable[int]:
        """The parameter groups that have a slot."""
        return self._groups

    def refresh(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Tells the trainer what an optimizer's ``param_groups`` say now."""
        for index, own in self._groups.items():
            rule = groups[index]
            own.set(rule["lr"], rule["weight_decay"], rule["momentum"], rule["normalise"])
