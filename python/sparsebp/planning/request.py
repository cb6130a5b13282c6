"""What the caller of ``convert`` or ``plan`` asks for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..samplers import resolve
from .choice import GRADIENTS, SCOPES
from .plain_data import check_keys, read
from .sampler_name import SamplerName


@dataclass(frozen=True)
class Request:
    """What a planner is asked for: the keywords of :func:`sparsebp.convert`, which says what each means."""

    input_size: tuple[int, ...]
    batch_size: int
    max_update_ratio: float | None
    ratios: dict[str, float] = field(hash=False)
    sampler: SamplerName
    resample_every: int
    momentum: bool
    normalise: bool
    gradients: str
    seed: int
    train_bias: bool
    scope: str = "training"
    pictures: str = "arena"
    saved_bits: int = 32
    aux: bool = True
    activation_bits: int | None = None

    @property
    def whole_step(self) -> bool:
        """Whether the budget covers all that a step needs but the weights."""
        return self.scope == "step"

    @property
    def holds_pictures(self) -> bool:
        """Whether the arena holds the images of a micro-batch as bytes."""
        return self.whole_step and self.pictures == "arena"

    @property
    def may_keep_inputs(self) -> bool:
        """Whether blocks may keep their inputs and make the rest again: that takes time, so it is asked for."""
        return self.whole_step or self.saved_bits == 8

    @property
    def sums(self) -> bool:
        """Whether gradients are summed until the optimizer's step."""
        return self.gradients == "sum"

    @property
    def scores(self) -> bool:
        """Whether the sampler wants a running gradient norm of every channel."""
        return self.sampler.scores

    def to_dict(self) -> dict[str, Any]:
        """Plain data, which :meth:`from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any, where: str) -> Request:
        """The inverse of :meth:`to_dict`, for what nobody has checked.

        Raises:
            ValueError: it is something else.
        """
        check_keys(data, [f.name for f in fields(cls)], where)
        sampler = read(SamplerName, data["sampler"], f"{where}.sampler")
        sampler.check(f"{where}.sampler")
        try:
            return replace(checked({**data, "sampler": "random"}), sampler=sampler)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}.{error}") from error

    def with_keywords(self, given: Mapping[str, Any]) -> Request:
        """The same with other keywords of :func:`sparsebp.convert`.

        Raises:
            TypeError, ValueError: one of them is wrong.
        """
        asked = checked({**self.to_dict(), "sampler": "random", **given})
        return asked if "sampler" in given else replace(asked, sampler=self.sampler)


#: Where the images of a micro-batch may lie as bytes, where the budget covers the whole step.
PICTURES = ("arena", "elsewhere")
#: How many bits of a number a block that keeps its input may keep.
SAVED_BITS = (32, 8)
#: How few and how many bits of the derivative of an activation that is a curve may be kept.
ACTIVATION_BITS = (2, 8)
#: Of a height, a width or a number of channels: native code counts them with 32 bits.
MOST_SIZE = 2**31 - 1

#: The keywords of :func:`sparsebp.convert` with their defaults, all but the budget.
DEFAULTS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "batch_size": 1,
    "max_update_ratio": None,
    "ratios": None,
    "sampler": "random",
    "resample_every": 1,
    "momentum": False,
    "normalise": False,
    "gradients": "in_place",
    "seed": 0,
    "train_bias": True,
    "scope": "training",
    "pictures": "arena",
    "saved_bits": 32,
    "aux": True,
    "activation_bits": None,
}


def checked(settings: Mapping[str, Any]) -> Request:
    """The request that the keywords of :func:`sparsebp.convert` are.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """
    size = settings["input_size"]
    if not isinstance(size, (tuple, list)) or len(size) not in (2, 3):
        raise ValueError(f"input_size: expected (channels, height, width) or (channels, length), got {size!r}")
    sides = tuple(_check_int("input_size", s, 1, MOST_SIZE) for s in size)
    cap = settings["max_update_ratio"]
    ratios = settings["ratios"]
    if ratios is not None and not isinstance(ratios, Mapping):
        raise TypeError(f"ratios: expected a mapping of layer names to shares, got {type(ratios).__name__}")
    for name in ratios or {}:
        if not isinstance(name, str):
            raise TypeError(f"ratios: expected layer names as keys, got {name!r}")
    sampler = resolve(settings["sampler"], settings["seed"])
    return Request(
        sides,
        _check_int("batch_size", settings["batch_size"], 1, 2**24),
        None if cap is None else _check_ratio("max_update_ratio", cap, False),
        {k: _check_ratio(f"ratios[{k!r}]", v, True) for k, v in (ratios or {}).items()},
        SamplerName.of(sampler),
        _check_int("resample_every", settings["resample_every"], 1, 2**63 - 1),
        _check_bool("momentum", settings["momentum"]),
        _check_bool("normalise", settings["normalise"]),
        check_gradients(settings["gradients"]),
        settings["seed"],
        _check_bool("train_bias", settings["train_bias"]),
        check_name("scope", settings["scope"], SCOPES),
        check_name("pictures", settings["pictures"], PICTURES),
        check_saved_bits(settings["saved_bits"]),
        _check_bool("aux", settings["aux"]),
        check_activation_bits(settings["activation_bits"]),
    )


def check_gradients(value: Any) -> str:
    """``value`` if it is one of :data:`GRADIENTS`.

    Raises:
        ValueError: it is not.
    """
    return check_name("gradients", value, GRADIENTS)


def check_saved_bits(bits: Any) -> int:
    """``bits`` if it is one of :data:`SAVED_BITS`.

    Raises:
        ValueError: it is not.
    """
    if type(bits) is not int or bits not in SAVED_BITS:
        raise ValueError(f"saved_bits: expected {' or '.join(map(str, SAVED_BITS))}, got {bits!r}")
    return bits


def check_activation_bits(bits: Any) -> int | None:
    """``bits`` if it is None or a number that :data:`ACTIVATION_BITS` allows.

    Raises:
        ValueError: it is not.
    """
    least, most = ACTIVATION_BITS
    if bits is not None and not (type(bits) is int and least <= bits <= most):
        raise ValueError(f"activation_bits: expected None or a whole number from {least} to {most}, got {bits!r}")
    return bits


def check_name(name: str, value: Any, names: tuple[str, ...]) -> str:
    """``value`` if it is one of ``names``; raises ValueError otherwise."""
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name}: expected {' or '.join(names)}, got {value!r}")
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
