"""Whose the bytes of a plan are: its buffers, charged to the layers that they are there for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from ..capture.graph import Graph, Layer, Op
from .choice import Choice
from .lowering import SpecFactory, trains_bias
from .plan import CATEGORIES, Buffer, LayerPlan


class LayerWeights(NamedTuple):
    """How many weights a layer has: those of one input channel, all of them, and whether there is a bias."""

    per_channel: int
    total: int
    bias: bool


def layer_weights(layer: Layer, model: nn.Module) -> LayerWeights:
    """The weights of a layer of ``model``."""
    module = model.get_submodule(layer.name)
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    total = weight.numel()
    return LayerWeights(total // layer.input.channels, total, module.bias is not None)


def itemise(
    graph: Graph, factory: SpecFactory, weights: Mapping[int, LayerWeights], choice: Choice, buffers: Sequence[Buffer]
) -> tuple[LayerPlan, ...]:
    """The layers that train, in network order, each with its bytes by category."""
    trained = [i for i, channels in choice.selected.items() if channels > 0]
    return tuple(
        LayerPlan(
            graph.layers[i].name,
            graph.layers[i].kind,
            graph.layers[i].input.channels,
            choice.selected[i],
            choice.selected[i] * weights[i].per_channel,
            weights[i].total,
            _of_activations(graph, factory, i, choice, buffers) | _of_parameters(graph, factory, i, weights[i], choice),
        )
        for i in trained
    )


def _of_activations(
    graph: Graph, factory: SpecFactory, i: int, choice: Choice, buffers: Sequence[Buffer]
) -> dict[str, int]:
    """Saved slices, masks, scratch and the gradient of the op's output.

    What an op needs as a whole counts for its first layer that trains.
    """
    op = next(op for op in graph.ops if i in op.layers)
    first = next(x for x in op.layers if choice.selected[x] > 0)
    gradient = f"value{factory.value_ids[op.output]}.grad"
    own = graph.layers[op.layers[0]].name + "."
    sizes = dict.fromkeys(CATEGORIES, 0)
    for buffer in buffers:
        if buffer.name == gradient:
            owner = first
        elif buffer.name.startswith(own) and buffer.category in ("saved", "masks", "scratch"):
            whose = _named(op, buffer.name.removeprefix(own), first)
            owner = whose if choice.selected[whose] > 0 and buffer.category != "scratch" else first
        else:
            continue
        sizes[buffer.category] += buffer.bytes if owner == i else 0
    return sizes


_PARTS = ("expand", "depthwise", "project")


def _named(op: Op, buffer: str, otherwise: int) -> int:
    """The layer of an op that a buffer's name speaks of."""
    if op.kind != "block":
        return op.layers[0]
    parts = _PARTS[len(_PARTS) - len(op.layers) :]
    return next((x for x, part in zip(op.layers, parts, strict=True) if buffer.startswith(part)), otherwise)


def _of_parameters(graph: Graph, factory: SpecFactory, i: int, weights: LayerWeights, choice: Choice) -> dict[str, int]:
    """Optimizer state, gradient sums and what the sampler holds."""
    layer, selected = graph.layers[i], choice.selected[i]
    values, parameters = selected * weights.per_channel, 1
    if trains_bias(graph, i, choice):
        vectors = (layer.norm is not None) + weights.bias
        values, parameters = values + layer.output.channels * vectors, parameters + vectors
    item, channels = factory.itemsize, layer.input.channels
    return {
        "sampler": 4 * selected + (channels + 7) // 8 + 4 * channels * choice.scores if selected < channels else 0,
        "optimizer": values * item * choice.momentum + 8 * parameters * choice.normalise,
        "weight_gradients": values * item * choice.sums,
    }
