"""How much a training step has to do at the very least: multiply-adds, and bytes that must move."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..capture.graph import Graph
from ..capture.layer import Layer
from ..planning.lowering import trains_bias
from ..planning.plan import Plan


@dataclass(frozen=True)
class OperationCount:
    """One training step of a planned network, all images of the batch together.

    Only layers count, convolutions and linear ones, with a product for every tap of a convolution, also where it
    meets padding. What activations, additions, pooling and the loss need is small beside it.

    Attributes:
        forward: multiply-adds of the forward pass, of the whole network.
        input_grad: multiply-adds of the input gradients that something below them needs.
        weight_grad: multiply-adds of the weight gradients of the update sets.
        moved: bytes that cannot stay in a cache from one step to the next. Weights, once forward; once
            backward those that an input gradient needs, or else the update set's; and the images.
    """

    forward: int
    input_grad: int
    weight_grad: int
    moved: int

    @property
    def operations(self) -> int:
        """Floating-point operations: a multiply-add is two."""
        return 2 * (self.forward + self.input_grad + self.weight_grad)


def count_operations(model: nn.Module, graph: Graph, plan: Plan) -> OperationCount:
    """What one step of ``plan`` takes.

    Args:
        model: the network, converted or not.
        graph: of the same network at the plan's input size.
        plan: where the span begins, what trains in it, and how many images go through.
    """
    needed = needed_input_grads(model, graph, plan)
    forward = input_grad = weight_grad = weights = 0
    for i, layer in enumerate(graph.layers):
        total = _weights(model, layer)
        updated = plan.choice.selected.get(i, 0) * total // layer.input.channels
        pixels = plan.batch_size * layer.output.height * layer.output.width
        forward += total * pixels
        input_grad += total * pixels if i in needed else 0
        weight_grad += updated * pixels
        weights += total + (total if i in needed else updated)
    channels, height, width = plan.input_size
    images = plan.batch_size * channels * height * width
    item = next(model.parameters()).element_size()
    return OperationCount(forward, input_grad, weight_grad, item * (weights + images))


def needed_input_grads(model: nn.Module, graph: Graph, plan: Plan) -> set[int]:
    """Layers, as indices into ``graph.layers``, through which an error has to go back to something that trains."""
    needed: set[int] = set()
    wants = {graph.input: False}  # value -> does it depend on anything that trains
    for index, op in enumerate(graph.ops):
        want = any(wants[v] for v in op.inputs)
        for i in op.layers:  # of a block, one after the other
            if want:
                needed.add(i)
            want = want or (index >= plan.choice.begin and _trains(model, graph, plan, i))
        wants[op.output] = want
    return needed


def _trains(model: nn.Module, graph: Graph, plan: Plan, i: int) -> bool:
    """Whether a layer of the span trains a channel, or a shift that it has."""
    layer = graph.layers[i]
    has_shift = layer.tensors.beta is not None or layer.tensors.bias is not None
    return plan.choice.selected.get(i, 0) > 0 or (has_shift and trains_bias(graph, i, plan.choice))


def _weights(model: nn.Module, layer: Layer) -> int:
    name = layer.tensors.weight
    return 0 if name is None else model.get_parameter(name).numel()
