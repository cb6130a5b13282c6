"""What an optimizer and the native programs that it trains need of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch

from .rules import Slot


class RuleSource(Protocol):
    """An optimizer, as a program sees it: the source of learning rates and the like."""

    param_groups: list[dict[str, Any]]

    def check(self, program: Trainable) -> None:
        """Raises ValueError if a group's numbers cannot be used with this program."""

    def forget(self, program: Trainable) -> None:
        """The program is no longer this optimizer's."""


class Exchange(Protocol):
    """What adds the gradients of a step to those of other processes, as an optimizer sees it."""

    def sum_gradients(self) -> None:
        """Called before gradients are looked at or applied; after the first call of a step it does nothing."""

    def finished(self) -> None:
        """The step is over, or its gradients were forgotten."""


class Trainable(Protocol):
    """A native program, as an optimizer sees it.

    Attributes:
        momentum, normalise: whether there is memory for momentum and for mean squares.
        sums: whether gradients are summed until the step, instead of applied during the backward pass.
    """

    momentum: bool
    normalise: bool
    sums: bool

    @property
    def optimizer(self) -> RuleSource | None:
        """The attached optimizer, while it lives."""

    @property
    def groups(self) -> Iterable[int]:
        """The parameter groups of the attached optimizer that this program trains with."""

    def attach(self, optimizer: RuleSource, slots: dict[Slot, int]) -> None:
        """Makes ``optimizer`` the source of the training rules; ``slots`` maps parameters to its groups."""

    def finish_step(self) -> None:
        """The optimizer's step."""

    def forget_sums(self, set_to_none: bool = True) -> None:
        """Clears the gradient sums, if there are any."""

    def sum_views(self) -> list[torch.Tensor]:
        """The gradient sums inside the arena as flat tensors."""

    def state_dict(self) -> dict[str, Any]:
        """What the program keeps from step to step, as tensors and plain data."""

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError unless :meth:`load_state_dict` can take it."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what :meth:`state_dict` returned."""
