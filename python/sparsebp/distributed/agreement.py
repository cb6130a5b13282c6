"""Whether ranks would train the same model in the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from .. import __version__
from ..errors import RanksDiffer
from ..optim import SGD
from ..training.engine_state import plan_of
from ..training.sparse_model import SparseModel
from .alone import Alone
from .ranks import Ranks

_LONG = 60
"""Letters of a value that a message still holds."""
_ABSENT = "none"
_WEIGHTS = "set of weights"
_ADVICE = "; load the same file everywhere, and call torch.manual_seed before the model is made"


def check_same(ranks: Ranks | Alone, facts: Mapping[str, Any]) -> None:
    """Raises RanksDiffer, on every rank, unless the facts of all are equal; it names a rank, and what differs.

    Args:
        ranks: that compare.
        facts: plain data by what it says, in words.
    """
    everyone = ranks.gather(dict(facts))
    for rank, theirs in enumerate(everyone):
        if theirs != everyone[0]:
            what, own, first = _difference(theirs, everyone[0])
            advice = _ADVICE if what.startswith(_WEIGHTS) else ""
            raise RanksDiffer(
                f"ranks: rank {rank} has another {what} than rank 0: {_short(own)}, not {_short(first)}{advice}"
            )


def facts_of(model: SparseModel, opt: SGD) -> dict[str, Any]:
    """All that has to be equal before the first step, the least surprising differences last."""
    engine, plan = model.engine, model.plan
    return {
        "sparsebp": __version__,
        "network": plan.network.digest,
        "budget": plan.budget,
        "input size": list(plan.input_size),
        **plan_of(engine),
        "way of drawing": repr(engine.sampler),
        "plan": _digest(plan.to_json().encode()),
        "kind of processor": engine.device.type,
        "rounding": "without fused multiply-add" if engine.program.isa == "scalar" else "with fused multiply-add",
        **{f"setting of parameter group {i}": rates(group) for i, group in enumerate(opt.param_groups)},
        "set of trained parameters": sorted([*slot, group] for slot, group in engine.rules.slots.items()),
        "state of training": state_digest(model),
        _WEIGHTS: {name: _digest(_bytes(t)) for name, t in _weights(model, opt).items()},
    }


def rates(group: Mapping[str, Any]) -> dict[str, Any]:
    """What a parameter group says of how its parameters train."""
    return {key: group[key] for key in ("lr", "momentum", "weight_decay", "normalise")}


def state_digest(model: SparseModel) -> str:
    """Of what a program keeps from step to step: counters, update sets, momentum and the like."""
    state = model.engine.state()
    regions = state.pop("regions")
    return _digest(repr(sorted(state.items())).encode(), *(regions[name] for name in sorted(regions)))


def _weights(model: SparseModel, opt: SGD) -> dict[str, torch.Tensor]:
    others = {f"other parameter {i}": p for i, p in enumerate(opt.torch_parameters())}
    return {**model.state_dict(), **others}


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(*parts: bytes) -> str:
    made = hashlib.sha256()
    for part in parts:
        made.update(part)
    return made.hexdigest()[:16]


def _difference(own: Mapping[str, Any], first: Mapping[str, Any]) -> tuple[str, Any, Any]:
    name = next(n for n in {**first, **own} if own.get(n) != first.get(n))
    ours, theirs = own.get(name, _ABSENT), first.get(name, _ABSENT)
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        inner, ours, theirs = _difference(ours, theirs)
        name = f"{name} ({inner})"
    return name, ours, theirs


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
