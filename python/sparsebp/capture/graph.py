"""From an ``nn.Module`` to the small op graph that a native program runs.

``trace`` follows the model with torch.fx and ``build`` fuses convolution + batch norm + activation into
layers and recognises inverted residuals and the head. Ops that have no native counterpart stay in the
graph without a kind; only ops behind the last of them can run natively.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx, nn

from .._C import Activation, OpKind
from .fuse import fuse_blocks, fuse_heads, fuse_layers
from .fx_ops import read_ops
from .layer import Layer, Value
from .op import Op
from .places import value_of
from .raw_op import RawOp
from .shapes import shape_of
from .tracing import Traces, trace


@dataclass
class Graph:
    """The whole network in execution order."""

    values: list[Value]
    layers: list[Layer]
    ops: list[Op]
    input: int
    output: int
    output_is_flat: bool  # [N, C] rather than [N, C, H, W]
    native_begin: int  # first op that runs natively
    traces: Traces
    expected: torch.Tensor | None  # what the model returned for two images of `probe`; None if it is random
    fx_names: dict[int, str] = field(default_factory=dict)  # value -> name of the fx node it is
    apart: frozenset[int] = frozenset()  # values whose numbers torch has in another order

    @property
    def trains_from(self) -> int:
        """First op that may train: native, and with nothing behind it that stops the gradient."""
        stops = [i for i, op in enumerate(self.ops) if op.frozen]
        return max(self.native_begin, stops[-1] + 1 if stops else 0)

    def layers_from(self, begin: int) -> list[int]:
        """Layers of op ``begin`` and of those after it, in the order of execution."""
        return [layer for op in self.ops[begin:] for layer in op.layers]

    def crossing(self, begin: int) -> set[int]:
        """Values made before op ``begin`` and read by it or a later op."""
        made_later = {op.output for op in self.ops[begin:]}
        return {v for op in self.ops[begin:] for v in op.inputs if v not in made_later}


def build(model: nn.Module, input_size: tuple[int, int, int]) -> Graph:
    """The op graph of ``model`` for images of ``input_size`` (C, H, W).

    Raises:
        UnsupportedModel: the model does not take one image batch and return one tensor.
    """
    traces, expected = trace(model, input_size)
    reading = read_ops(traces)
    values: list[Value] = []
    ids: dict[str, int] = {}

    def value(node: fx.Node, size: Value) -> int:
        if node.name not in ids:
            ids[node.name] = len(values)
            values.append(size)
        return ids[node.name]

    layers: list[Layer] = []
    ops: list[Op] = []
    sizes = {op.output: op.value for op in reading.ops}
    size = value_of(shape_of(reading.source)) or Value(1, 1, 0)
    source = value(reading.source, size)
    for item in fuse_layers(_read_ones(reading.ops, reading.result)):
        inputs = tuple(value(node, sizes.get(node, size)) for node in item.inputs)
        output = value(item.output, item.value)
        index: tuple[int, ...] = ()
        if item.layer is not None:
            index = (len(layers),)
            own = item.layer
            of_layer = item.activation if item.kind != OpKind.prelu else Activation.identity
            more = (own.tensors, own.window, own.eps, own.shared)
            layers.append(Layer(own.name, own.kind, own.norm, of_layer, values[inputs[0]], values[output], *more))
        activation = item.activation if item.kind == OpKind.activation else Activation.identity
        described = (item.what, item.where, item.weighted, item.frozen, item.details)
        ops.append(Op(item.kind, inputs, output, index, False, activation, item.pool, item.drop, *described))
    result = ids[reading.result.name]
    ops = fuse_heads(fuse_blocks(ops, layers, result), layers, result, values)
    # What is returned may be a flattened alias of the last op's output.
    flat = len(shape_of(traces.evaluation.graph.output_node().args[0])) == 2
    graph = Graph(values, layers, ops, source, result, flat, 0, traces, expected)
    graph.fx_names = {i: name for name, i in ids.items()}
    graph.apart = frozenset(ids[node.name] for node in reading.apart if node.name in ids)
    graph.native_begin = _native_begin(graph)
    return graph


def _read_ones(ops: list[RawOp], result: fx.Node) -> list[RawOp]:
    """Those whose result somebody reads: what was made for an op that torch runs after all is nobody's."""
    wanted, kept = {result}, []
    for op in reversed(ops):
        if op.kind is None or op.output in wanted:
            wanted.update(op.inputs)
            kept.append(op)
    return kept[::-1]


def _native_begin(graph: Graph) -> int:
    """First op from which on everything is native and enters through one activation."""
    last = max((i for i, op in enumerate(graph.ops) if op.kind is None), default=-1)
    begin = last + 1
    while begin < len(graph.ops) and (len(graph.crossing(begin)) != 1 or graph.crossing(begin) & graph.apart):
        begin += 1
    return begin
