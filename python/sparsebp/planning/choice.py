"""What a planner decides, in the numbers of a graph, and by the names of layers to be carried along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .fingerprint import Fingerprint
from .pieces import Pieces

#: What may become of gradients: used up as they arise, or summed until the optimizer's step.
GRADIENTS = ("in_place", "sum")
#: What a budget may cover: what training needs beyond inference, or all that a step needs but the weights.
SCOPES = ("training", "step")


@dataclass(frozen=True)
class Choice:
    """What a planner decides; with graph and shapes it determines every byte."""

    begin: int  # first op of the span, an index into Graph.ops
    selected: dict[int, int] = field(hash=False)  # layer -> channels trained at once
    blocks: dict[int, int] = field(default_factory=dict, hash=False)  # op -> backward channel block
    batch: int = 1
    momentum: bool = False
    normalise: bool = False
    sums: bool = False
    scores: bool = False
    train_bias: bool = True
    loss: bool = False  # the gradient of the loss lies in the arena
    scope: str = "training"  # one of SCOPES
    pictures: bool = False  # the arena holds the images of a micro-batch as bytes
    pieces: Pieces = field(default_factory=Pieces, hash=False)  # how much the forward pass makes at once
    activation_bits: int = 0  # that are kept of the derivative of a curve; 0: its input is, and nothing is rounded

    def named(self, network: Fingerprint) -> dict[str, Any]:
        """The same as plain data that outlives another numbering: layers by name, ops by that of their first layer."""
        layers, ops = network.layers, network.ops
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "begin": layers[ops[self.begin].layers[0]].name,
            "selected": {layers[i].name: count for i, count in self.selected.items()},
            "blocks": {layers[ops[i].layers[0]].name: width for i, width in self.blocks.items()},
            "pieces": self.pieces.named(network),
        }


#: The fields that are numbers of no graph, with their types.
_PLAIN = {
    "batch": int,
    "momentum": bool,
    "normalise": bool,
    "sums": bool,
    "scores": bool,
    "train_bias": bool,
    "loss": bool,
    "scope": str,
    "pictures": bool,
    "activation_bits": int,
}
#: What choices did not say before there was a choice.
_OLDER = {"loss": False, "scope": "training", "pictures": False, "activation_bits": 0}


def by_names(data: Mapping[str, Any], network: Fingerprint) -> Choice:
    """The inverse of :meth:`Choice.named`.

    Raises:
        ValueError: it was made for another network, or is not what :meth:`Choice.named` returns.
    """
    try:
        plain, begin = {name: {**_OLDER, **data}[name] for name in _PLAIN}, data["begin"]
        selected, blocks = dict(data["selected"]), dict(data["blocks"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"choice: incomplete or damaged ({error!r})") from error
    ops = {network.layers[op.layers[0]].name: i for i, op in enumerate(network.ops) if op.layers}
    if not isinstance(begin, str) or begin not in ops or ops[begin] < network.trains_from:
        raise ValueError(f"choice: made for another network; in this one no span begins with {begin!r}")
    span = {network.layers[i].name: i for i in network.layers_from(ops[begin])}
    strangers = sorted({*selected.keys() ^ span.keys(), *blocks.keys() - ops.keys()})
    if strangers:
        raise ValueError(f"choice: made for another network; only one of the two has {strangers[0]!r} behind {begin!r}")
    for name, kind in _PLAIN.items():
        if type(plain[name]) is not kind:
            raise ValueError(f"choice: {name}: expected {kind.__name__}, got {plain[name]!r}")
    for name, count in selected.items():
        _check(name, count, 0, network.layers[span[name]].input.channels)
    for name, width in blocks.items():
        _check(f"block at {name}", width, 1, _WIDEST)
    return Choice(
        ops[begin],
        {layer: selected[name] for name, layer in span.items()},
        {ops[name]: width for name, width in blocks.items()},
        **plain,
        pieces=Pieces.by_names(data["pieces"], network) if "pieces" in data else Pieces(),
    )


_WIDEST = 2**20  # channels of a block; a layer has fewer


def _check(name: str, count: Any, least: int, most: int) -> None:
    if type(count) is not int or not least <= count <= most:
        raise ValueError(f"choice: {name}: expected {least} to {most} channels, got {count!r}")
