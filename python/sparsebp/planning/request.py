"""What the caller of ``convert`` or ``plan`` asks for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..samplers import resolve
from .choice import GRADIENTS


@dataclass(frozen=True)
class Request:
    """What a planner is asked for; :func:`sparsebp.convert` says what each means."""

    input_size: tuple[int, int, int]
    batch_size: int
    max_update_ratio: float | None
    ratios: dict[str, float]
    momentum: bool
    normalise: bool
    sums: bool
    train_bias: bool
    scores: bool


def checked(settings: Mapping[str, Any]) -> Request:
    """The request that the keywords of :func:`sparsebp.convert` are.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """
    _check_int("resample_every", settings["resample_every"], 1)
    size = settings["input_size"]
    if not isinstance(size, (tuple, list)) or len(size) != 3:
        raise ValueError(f"input_size: expected (channels, height, width), got {size!r}")
    channels, height, width = (_check_int("input_size", s, 1) for s in size)
    cap = settings["max_update_ratio"]
    ratios = settings["ratios"]
    if ratios is not None and not isinstance(ratios, Mapping):
        raise TypeError(f"ratios: expected a mapping of layer names to shares, got {type(ratios).__name__}")
    for name in ratios or {}:
        if not isinstance(name, str):
            raise TypeError(f"ratios: expected layer names as keys, got {name!r}")
    return Request(
        (channels, height, width),
        _check_int("batch_size", settings["batch_size"], 1, 2**24),
        None if cap is None else _check_ratio("max_update_ratio", cap, False),
        {k: _check_ratio(f"ratios[{k!r}]", v, True) for k, v in (ratios or {}).items()},
        _check_bool("momentum", settings["momentum"]),
        _check_bool("normalise", settings["normalise"]),
        check_gradients(settings["gradients"]) == "sum",
        _check_bool("train_bias", settings["train_bias"]),
        resolve(settings["sampler"], settings["seed"]).needs_scores,
    )


def check_gradients(value: Any) -> str:
    """``value`` if it is one of :data:`GRADIENTS`.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str) or value not in GRADIENTS:
        raise ValueError(f"gradients: expected {' or '.join(GRADIENTS)}, got {value!r}")
    return value


def _check_int(name: str, value: Any, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__} {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name}: expected at most {most}, got {value}")
    return value


def _check_bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {type(value).__name__} {value!r}")
    return value


def _check_ratio(name: str, value: Any, zero: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__} {value!r}")
    if not (0 < value <= 1 or (zero and value == 0)):
        raise ValueError(f"{name}: expected a share {'from 0' if zero else 'above 0'} to 1, got {value}")
    return float(value)
