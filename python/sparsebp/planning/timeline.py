"""The moments of one training step as a plan lays them out: who runs, and which bytes are alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .plan import Plan
from .plan_parts import CATEGORIES


@dataclass(frozen=True)
class Moment:
    """One op running forward or backward.

    Attributes:
        name: of the op's block or layer; empty for ops that hold nothing, such as an addition.
        forward: whether it runs forward.
        bytes: training memory alive then, by category.
    """

    name: str
    forward: bool
    bytes: Mapping[str, int]

    @property
    def total(self) -> int:
        """Training memory alive then."""
        return sum(self.bytes.values())


def timeline(plan: Plan) -> list[Moment]:
    """The forward passes of the ops of the span, in order, then their backward passes, the other way round.

    What comes before the span is plain inference; it holds what the sampler holds, and is left out unless the budget
    covers the whole step.
    """
    ops = plan.network.native_ops
    owners = _owners(plan)
    span = first = min(owners, default=0)
    if plan.whole_step:
        owners, first = _first_layers(plan) | owners, 0
    names = _short_names(owners)
    return [
        Moment(names.get(t if t < ops else 2 * ops - 1 - t, ""), t < ops, _alive(plan, t))
        for t in range(first, 2 * ops - span)
    ]


def block_names(plan: Plan) -> list[str]:
    """The blocks or layers that train, in network order, by the names that moments have."""
    return [name for _, name in sorted(_short_names(_owners(plan)).items())]


def _owners(plan: Plan) -> dict[int, str]:
    """The first trained layer of every op that has one."""
    network, trained = plan.network, {layer.name for layer in plan.layers}
    owners: dict[int, str] = {}
    for i, op in enumerate(network.ops[network.native_begin :]):
        for layer in op.layers:
            if network.layers[layer].name in trained:
                owners.setdefault(i, network.layers[layer].name)
    return owners


def _first_layers(plan: Plan) -> dict[int, str]:
    """The first layer of every op that has one."""
    return {i: plan.network.layers[op.layers[0]].name for i, op in enumerate(plan.network.ops) if op.layers}


def _short_names(owners: Mapping[int, str]) -> dict[int, str]:
    """Each name up to the first part that tells it from the others: ``features.5``, not ``features.5.conv.0.0``."""
    short = {}
    for op, name in owners.items():
        parts = name.split(".")
        others = [other.split(".") for key, other in owners.items() if key != op]
        length = next((n for n in range(1, len(parts)) if all(other[:n] != parts[:n] for other in others)), len(parts))
        short[op] = ".".join(parts[:length])
    return short


def _alive(plan: Plan, moment: int) -> dict[str, int]:
    return {c: sum(b.bytes for b in plan.buffers if b.category == c and b.begin <= moment <= b.end) for c in CATEGORIES}
