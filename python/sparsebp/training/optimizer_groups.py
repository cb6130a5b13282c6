"""What an optimizer's groups may hold, and which program trains a parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from .bound_program import OWNERS
from .protocol import Trainable
from .rules import Slot


def check_numbers(group: Mapping[str, Any]) -> None:
    """Raises TypeError or ValueError unless a new group's numbers are some."""
    for key in ("lr", "momentum", "weight_decay"):
        value = group[key]
        if isinstance(value, (bool, torch.Tensor)) or not isinstance(value, (int, float)):
            raise TypeError(f"{key}: expected a number, got {type(value).__name__} {value!r}")
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{key}: expected a finite number of at least 0, got {value}")
    if not isinstance(group["normalise"], bool):
        got = f"{type(group['normalise']).__name__} {group['normalise']!r}"
        raise TypeError(f"normalise: expected True or False, got {got}")


def check_group(group: Mapping[str, Any], engine: Trainable) -> None:
    """Raises ValueError if a group's numbers cannot be used with a program."""
    if group["momentum"] and not engine.momentum:
        raise ValueError(no_momentum(group["momentum"]))
    if group["normalise"] and not engine.normalise:
        raise ValueError(NO_SQUARES)
    for key in ("lr", "momentum", "weight_decay"):
        if not math.isfinite(group[key]) or group[key] < 0:
            raise ValueError(f"{key}: expected a finite number of at least 0, got {group[key]}")


def owner_of(parameter: torch.Tensor) -> tuple[Trainable, Slot] | None:
    """The live program that trains a parameter, and its slot there."""
    reference, slot = OWNERS.get(parameter, (None, None))
    engine = reference() if reference is not None else None
    return None if engine is None else (engine, slot)


NO_SQUARES = (
    "normalise: the plan reserved no mean squares; convert with normalise=True (a SparseConv2d of its own has none)"
)


def no_momentum(value: float) -> str:
    """What to say of a momentum that the plan has no memory for."""
    return (
        f"momentum: {value} was asked for, but the plan reserved no momentum state; "
        "convert with momentum=True (and resample_every > 1: it restarts when channels are redrawn)"
    )
