"""What an engine needs to go on elsewhere: its counters and what the arena keeps from one step to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch

from .. import _C
from ..samplers import Sampler, check_update_sets


class Stateful(Protocol):
    """What is looked at of an engine."""

    spec: _C.ProgramSpec
    specs: list[_C.LayerSpec]
    program: _C.Program
    dtype: torch.dtype
    sampler: Sampler
    resample_every: int
    seed: int

    def state(self) -> dict[str, Any]:
        """What :func:`capture` returns."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse, checked."""


#: Attributes of an engine.
COUNTERS: dict[str, type[int]] = {"steps": int, "turn": int, "forwards": int, "due": bool, "pending": bool}


def capture(engine: Stateful) -> dict[str, Any]:
    """Counters, and the bytes of update sets, visited channels, scores, momentum, mean squares and gradient sums."""
    program = engine.program
    regions = {name: program.read(offset) for name, offset, _ in program.persistent()}
    return {"regions": regions, **{name: getattr(engine, name) for name in COUNTERS}}


def check(engine: Stateful, state: Mapping[str, Any]) -> None:
    """Raises ValueError unless ``state`` is what :func:`capture` returns for a plan like the engine's."""
    check_counters(state)
    try:
        saved = dict(state["regions"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"state: incomplete or damaged ({error!r})") from error
    if {n: len(data) for n, data in saved.items()} != {n: size for n, _, size in engine.program.persistent()}:
        raise ValueError("state: it was saved under another plan; expected the same model, budget and settings")
    check_update_sets(engine.specs, np.frombuffer(saved.get("indices", b""), np.int32))


def check_counters(state: Mapping[str, Any]) -> None:
    """Raises ValueError unless ``state`` has all counters, and they can be some."""
    for name, kind in COUNTERS.items():
        value = state.get(name)
        if type(value) is not kind or not 0 <= value < 2**63:
            raise ValueError(f"state: {name}: expected what was saved, got {value!r}")


def put_back(engine: Stateful, state: Mapping[str, Any]) -> None:
    """Makes a checked state the engine's."""
    for name, offset, _ in engine.program.persistent():
        engine.program.write(offset, bytes(state["regions"][name]))
    for name in COUNTERS:
        setattr(engine, name, state[name])


# -- for an optimizer's state_dict: tensors and plain data, with the plan that they belong to ----------


def exported(engine: Stateful) -> dict[str, Any]:
    """The state of an engine as tensors on the CPU and plain data."""
    state = engine.state()
    numbers = {"momentum": engine.dtype, "sums": engine.dtype}
    kinds = {"indices": torch.int32, "scores": torch.float32, "mean squares": torch.float32, **numbers}
    tensors = {name: as_tensor(data).view(kinds.get(name, torch.uint8)) for name, data in state["regions"].items()}
    return {"plan": plan_of(engine), **state, "regions": tensors}


def imported(engine: Stateful, exported: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`capture` had returned; raises ValueError if it belongs to another plan or is no such state."""
    check_plan(exported.get("plan"), plan_of(engine))
    state = {**exported, "regions": _as_bytes(exported)}
    check(engine, state)
    return state


def go_on(engine: Stateful, exported: Mapping[str, Any]) -> None:
    """Continues what a program of the same layers had exported that was made for another shape.

    Gradient sums, which only some programs have, belong to a backward pass and stay behind.

    Raises:
        ValueError: it is no such state.
    """
    carried = {name: data for name, data in _as_bytes(exported).items() if name != "sums"}
    own = {name: data for name, data in engine.state()["regions"].items() if name == "sums"}
    engine.load_state({**exported, "regions": {**carried, **own}})


def _as_bytes(exported: Mapping[str, Any]) -> dict[str, bytes]:
    try:
        return {str(n): t.detach().cpu().numpy().tobytes() for n, t in exported["regions"].items()}
    except (KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(f"state: incomplete or damaged ({error!r})") from error


def as_tensor(data: bytes) -> torch.Tensor:
    """Bytes in memory of their own."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def plan_of(engine: Stateful) -> dict[str, Any]:
    """What must be equal where a state goes on to the bit."""
    spec = engine.spec
    return {
        "channels": {layer.name: layer.selected for layer in spec.layers},
        "train_bias": [layer.name for layer in spec.layers if layer.train_bias],
        "blocks": [op.block for op in spec.ops],
        "batch_size": spec.batch,
        "momentum": spec.momentum,
        "normalise": spec.normalise,
        "gradients": "sum" if spec.sums else "in_place",
        "dtype": str(engine.dtype),
        **draws(engine.sampler, engine.resample_every),
        "seed": engine.seed,
    }


def draws(sampler: Sampler, resample_every: int) -> dict[str, Any]:
    """Who draws, and when."""
    return {
        "sampler": type(sampler).__name__,
        "seed of the sampler": sampler.seed,
        "resample_every": resample_every,
    }


def check_plan(saved: Any, own: Mapping[str, Any]) -> None:
    """Raises ValueError, which says what differs, unless both are the same plan."""
    if not isinstance(saved, Mapping):
        raise ValueError("state: it names no plan; expected what the state_dict of a sparsebp optimizer holds")
    for key, value in own.items():
        was = saved.get(key)
        if was == value:
            continue
        if isinstance(value, dict) and isinstance(was, dict):
            key, was, value = _first_difference(key, was, value)
        raise ValueError(
            f"state: it was saved under another plan: {key} was {was}, here it is {value}; expected the same model, "
            "budget and settings"
        )


def _first_difference(what: str, saved: dict[str, Any], own: dict[str, Any]) -> tuple[str, Any, Any]:
    name = next(n for n in {**own, **saved} if saved.get(n) != own.get(n))
    return f"{what} of {name}", saved.get(name, "none"), own.get(name, "none")
