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
from .fuse import fuse_blocks, fuse_heads, fuse_layers, readers_of
from .fx_ops import read_ops
from .gated_chain import fuse_gated
from .layer import Layer, Value
from .op import Op
from .places import value_of
from .raw_op import RawOp
from .reader import name_of
from .shapes import shape_of
from .tail import Tail, split
from .tracing import Traces, trace


@dataclass
class Graph:
    """The whole network in execution order."""

    values: list[Value]
    layers: list[Layer]
    ops: list[Op]
    input: int
    output: int
    output_is_flat: bool  # what native ops make is [N, C] rather than [N, C, H, W]
    native_begin: int  # first op that runs natively
    traces: Traces
    expected: list[torch.Tensor] | None  # all that the model returned for two images of `probe`; None if it is random
    tail: Tail | None  # what torch runs afterwards
    fx_names: dict[int, str] = field(default_factory=dict)  # value -> name of the fx node it is
    apart: frozenset[int] = frozenset()  # values whose numbers torch has in another order

    @property
    def trains_from(self) -> int:
        """First op that may train: native, and with nothing behind it that stops the gradient."""
        stops = [i for i, op in enumerate(self.ops) if op.frozen]
        return max(self.native_begin, stops[-1] + 1 if stops else 0)

    @property
    def makes_logits(self) -> bool:
        """Whether native ops make one number a class, of which torch makes probabilities at most."""
        return self.output_is_flat and (self.tail is None or self.tail.over_classes is not None)

    def layers_from(self, begin: int) -> list[int]:
        """Layers of op ``begin`` and of those after it, in the order of execution."""
        return [layer for op in self.ops[begin:] for layer in op.layers]

    def crossing(self, begin: int) -> set[int]:
        """Values made before op ``begin`` and read by it or a later op."""
        made_later = {op.output for op in self.ops[begin:]}
        return {v for op in self.ops[begin:] for v in op.inputs if v not in made_later}


def build(model: nn.Module, input_size: tuple[int, ...], aux: bool = True) -> Graph:
    """The op graph of ``model`` for inputs of ``input_size``; both it and ``aux`` as in :func:`.tracing.trace`.

    Raises:
        UnsupportedModel: the model does not take one image batch, or returns nothing made of it.
    """
    traces, expected = trace(model, input_size, aux)
    reading = read_ops(traces)
    raw = _read_ones(reading.ops, reading.results)
    raw, handed, tail = split(raw, reading.source, reading.results, reading.apart, traces.evaluation)
    values: list[Value] = []
    ids: dict[fx.Node, int] = {}

    def value(node: fx.Node, size: Value) -> int:
        if node not in ids:
            ids[node] = len(values)
            values.append(size)
        return ids[node]

    layers: list[Layer] = []
    ops: list[Op] = []
    size = value_of(shape_of(reading.source)) or Value(1, 1, 0)
    sizes = {reading.source: size} | {op.output: op.value for op in reading.ops}
    source = value(reading.source, size)
    for item in fuse_layers(raw, handed, sizes):
        inputs = tuple(value(node, sizes[node]) for node in item.inputs)
        output = value(item.output, item.value)
        index: tuple[int, ...] = ()
        if item.layer is not None:
            index = (len(layers),)
            own = item.layer
            more = (own.tensors, own.window, own.eps, own.shared)
            layers.append(
                Layer(own.name, own.kind, own.norm, item.activation, values[inputs[0]], values[output], *more)
            )
        activation = item.activation if item.kind == OpKind.activation else Activation.identity
        described = (item.what, item.where, item.weighted, item.frozen, item.details)
        ops.append(Op(item.kind, inputs, output, index, False, activation, item.pool, item.drop, *described))
    ends = [value(node, sizes[node]) for node in handed]
    ops = fuse_blocks(ops, layers, ends)
    ops = fuse_gated(ops, layers, readers_of(ops, ends), values)
    ops = fuse_heads(ops, layers, ends, values)
    result = _packed(values, ops, ends)
    flat = _is_flat(traces, tail, values[result])
    graph = Graph(values, layers, ops, source, result, flat, 0, traces, expected, tail)
    graph.fx_names = {i: name_of(node) for node, i in ids.items()}
    graph.apart = frozenset(ids[node] for node in reading.apart if node in ids)
    graph.native_begin = first_native(graph)
    return graph


def _read_ones(ops: list[RawOp], results: list[fx.Node]) -> list[RawOp]:
    """Those whose result somebody reads: what was made for an op that torch runs after all is nobody's."""
    wanted, kept = set(results), []
    for op in reversed(ops):
        if op.kind is None or op.output in wanted:
            wanted.update(op.inputs)
            kept.append(op)
    return kept[::-1]


def _packed(values: list[Value], ops: list[Op], ends: list[int]) -> int:
    """One value of all that is handed over: each flattened in torch's order, one after another."""
    if len(ends) == 1:
        return ends[0]

    def made(kind: OpKind, inputs: tuple[int, ...]) -> int:
        sizes = [values[v].height * values[v].width * values[v].channels for v in inputs]
        values.append(Value(1, 1, sum(sizes)))
        ops.append(Op(kind, inputs, len(values) - 1))
        return len(values) - 1

    flat = [v if (values[v].height, values[v].width) == (1, 1) else made(OpKind.reshape, (v,)) for v in ends]
    return made(OpKind.concat, tuple(flat))


def _is_flat(traces: Traces, tail: Tail | None, output: Value) -> bool:
    """Whether a native program writes its output as [N, C]."""
    if tail is None:  # what is returned may be a flattened alias of the last op's output
        return len(shape_of(traces.evaluation.graph.output_node().args[0])) == 2
    one_pixel = (output.height, output.width) == (1, 1)
    return one_pixel and (len(tail.shapes) > 1 or len(tail.shapes[0]) == 1 or tail.over_classes is not None)


def first_native(graph: Graph) -> int:
    """The first op from which on everything is native and enters through one activation."""
    last = max((i for i, op in enumerate(graph.ops) if op.kind is None), default=-1)
    begin = last + 1
    while begin < len(graph.ops) and (len(graph.crossing(begin)) != 1 or graph.crossing(begin) & graph.apart):
        begin += 1
    return begin
