"""Whose the bytes of a plan are: its buffers, charged to the layers that they are there for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from ..capture.graph import Graph
from ..capture.layer import Layer
from .choice import Choice
from .lowering import SpecFactory, trains_bias
from .plan_parts import CATEGORIES, Buffer, LayerPlan


class LayerWeights(NamedTuple):
    """How many weights a layer has: those of one input channel, all of them, and whether there is a bias."""

    per_channel: int
    total: int
    bias: bool


def layer_weights(layer: Layer, model: nn.Module) -> LayerWeights:
    """The weights of a layer of ``model``."""
    bias = layer.tensors.bias is not None
    if layer.tensors.weight is None:
        return LayerWeights(0, 0, bias)
    total = model.get_parameter(layer.tensors.weight).numel()
    return LayerWeights(total // layer.input.channels, total, bias)


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

    What an op needs as a whole, and the masks of layers of which only shifts train, count for its first layer that
    trains. The squared norms that go into optimizer state and scores count for none.
    """
    index, op = next((n, op) for n, op in enumerate(factory.ops) if i in op.layers)
    first = next(x for x in op.layers if choice.selected[x] > 0)
    trained = {factory.layer_ids[x] for x in op.layers if choice.selected[x] > 0}
    sizes = dict.fromkeys(CATEGORIES, 0)
    for buffer in buffers:
        owner = buffer.layer if buffer.layer in trained else factory.layer_ids[first]
        if buffer.op == index and buffer.role != "squared norms" and owner == factory.layer_ids[i]:
            sizes[buffer.category] += buffer.bytes
    return sizes


def _of_parameters(graph: Graph, factory: SpecFactory, i: int, weights: LayerWeights, choice: Choice) -> dict[str, int]:
    """Optimizer state, gradient sums and what the sampler holds."""
    layer, selected = graph.layers[i], choice.selected[i]
    values, parameters = selected * weights.per_channel, 1
    if trains_bias(graph, i, choice):
        vectors = (layer.tensors.beta is not None) + weights.bias
        values, parameters = values + layer.output.channels * vectors, parameters + vectors
    item, channels = factory.itemsize, layer.input.channels
    return {
        "sampler": 4 * selected + (channels + 7) // 8 + 4 * channels * choice.scores if selected < channels else 0,
        "optimizer": values * item * choice.momentum + 8 * parameters * choice.normalise,
        "weight_gradients": values * item * choice.sums,
    }
