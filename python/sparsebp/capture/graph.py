"""From an ``nn.Module`` to the small op graph that a native program runs.

``trace`` follows the model with torch.fx and ``build`` fuses convolution + batch norm + activation into
layers and recognises inverted residuals and the head. Ops that have no native counterpart stay in the
graph without a kind; only ops behind the last of them can run natively.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import fx, nn

from .._C import Activation, OpKind
from .fx_ops import RawOp, read_ops
from .shapes import shape_of
from .tail import Tail, split
from .tracing import Traces, trace

_CONVOLUTIONS = (OpKind.conv, OpKind.depthwise)


@dataclass(frozen=True)
class Value:
    """An activation, per image."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Layer:
    """One weight: a convolution or a linear layer with what is fused into it."""

    name: str
    kind: str  # pointwise, depthwise, conv, linear
    norm: str | None
    activation: Activation
    input: Value
    output: Value


@dataclass(frozen=True)
class Op:
    """One op: ``inputs`` and ``output`` index ``Graph.values``, ``layers`` index ``Graph.layers``."""

    kind: OpKind | None  # None: torch runs it
    inputs: tuple[int, ...]
    output: int
    layers: tuple[int, ...] = ()
    residual: bool = False
    activation: Activation = Activation.identity
    pool: tuple[int, int, int, int, int, int, bool] | None = None  # kernel, stride, padding (h, w), count
    drop: float = 0.0
    what: str = ""  # for messages: the class of a torch op's module, or its function
    where: str = ""  # the module, or the one in whose forward the function is called
    weighted: bool = False  # a torch op with weights of its own
    frozen: bool = False  # no gradient passes it


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


def build(model: nn.Module, input_size: tuple[int, int, int], aux: bool = True) -> Graph:
    """The op graph of ``model`` for images of ``input_size`` (C, H, W); ``aux`` as in :func:`.tracing.trace`.

    Raises:
        UnsupportedModel: the model does not take one image batch, or returns nothing made of it.
    """
    traces, expected = trace(model, input_size, aux)
    raw, fx_input, returned = read_ops(traces)
    raw, handed, tail = split(raw, fx_input, returned, traces.evaluation)
    values: list[Value] = []
    ids: dict[str, int] = {}

    def value(node: fx.Node) -> int:
        if node.name not in ids:
            ids[node.name] = len(values)
            values.append(_value_of(node))
        return ids[node.name]

    layers: list[Layer] = []
    ops: list[Op] = []
    source = value(fx_input)
    for item in _fuse_layers(raw, {node.name for node in handed}):
        inputs = tuple(value(node) for node in item.inputs)
        output = value(item.output)
        index: tuple[int, ...] = ()
        if item.kind in _CONVOLUTIONS:
            index = (len(layers),)
            layers.append(
                Layer(
                    item.module,
                    item.layer_kind,
                    item.norm,
                    item.activation,
                    values[inputs[0]],
                    values[output],
                )
            )
        activation = item.activation if item.kind == OpKind.activation else Activation.identity
        described = (item.what, item.where, item.weighted, item.frozen)
        ops.append(Op(item.kind, inputs, output, index, False, activation, item.pool, item.drop, *described))
    ends = [value(node) for node in handed]
    ops = _fuse_heads(_fuse_blocks(ops, layers, ends), layers, ends, values)
    output = _packed(values, ops, ends)
    graph = Graph(
        values, layers, ops, source, output, _is_flat(traces, tail, values[output]), 0, traces, expected, tail
    )
    graph.fx_names = {i: name for name, i in ids.items()}
    graph.native_begin = _native_begin(graph)
    return graph


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


def _value_of(node: fx.Node) -> Value:
    shape = shape_of(node)
    if len(shape) == 4:
        return Value(shape[2], shape[3], shape[1])
    return Value(1, 1, shape[1] if len(shape) == 2 else 0)  # others are only ever read by torch ops


def _fuse_layers(raw: list[RawOp], ends: set[str]) -> list[RawOp]:
    """Absorbs batch norms and activations whose input has no other reader and is none of the ``ends``."""
    readers = dict.fromkeys(ends, 1)
    for op in raw:
        for node in op.inputs:
            readers[node.name] = readers.get(node.name, 0) + 1
    out: list[RawOp] = []
    moved: set[int] = set()
    producer: dict[str, int] = {}
    for op in raw:
        before = producer.get(op.inputs[0].name) if op.inputs else None
        absorbed = None
        if before is not None and readers[op.inputs[0].name] == 1:
            layer = out[before]
            if layer.kind in _CONVOLUTIONS and layer.activation == Activation.identity:
                if op.is_norm and layer.norm is None and layer.layer_kind != "linear":
                    absorbed = replace(layer, norm=op.module, output=op.output)
                elif op.kind == OpKind.activation:
                    absorbed = replace(layer, activation=op.activation, output=op.output)
                if absorbed is not None:
                    absorbed = replace(absorbed, frozen=layer.frozen or op.frozen)
        if absorbed is not None and before is not None:
            # Move to the end: ops in between do not read it, its only reader was `op`.
            moved.add(before)
            op = absorbed
        producer[op.output.name] = len(out)
        out.append(op)
    return [op for i, op in enumerate(out) if i not in moved]


def _readers(ops: list[Op], ends: list[int]) -> dict[int, list[int]]:
    readers: dict[int, list[int]] = {end: [len(ops)] for end in ends}
    for i, op in enumerate(ops):
        for v in op.inputs:
            readers.setdefault(v, []).append(i)
    return readers


def _fuse_blocks(ops: list[Op], layers: list[Layer], ends: list[int]) -> list[Op]:
    """(pointwise ->) depthwise -> pointwise without activation (+ input): one inverted residual."""
    readers = _readers(ops, ends)
    producer = {op.output: i for i, op in enumerate(ops)}
    gone: set[int] = set()
    fused: dict[int, Op] = {}

    def only_reader(v: int) -> int | None:
        return readers[v][0] if len(readers.get(v, [])) == 1 and readers[v][0] < len(ops) else None

    def is_pointwise(i: int | None) -> bool:
        return i is not None and ops[i].kind == OpKind.conv and layers[ops[i].layers[0]].kind == "pointwise"

    for i, op in enumerate(ops):
        if op.kind != OpKind.depthwise:
            continue
        after = only_reader(op.output)
        if not is_pointwise(after) or after in gone:
            continue
        assert after is not None
        project = ops[after]
        if layers[project.layers[0]].activation != Activation.identity:
            continue
        before = producer.get(op.inputs[0])
        expands = is_pointwise(before) and before not in gone and only_reader(op.inputs[0]) == i
        parts = [i, after]
        if expands and before is not None:
            parts.insert(0, before)
        source = ops[parts[0]].inputs[0]
        last, out_value, residual = after, project.output, False
        tail = only_reader(project.output)
        if (
            tail is not None
            and ops[tail].kind == OpKind.add
            and source in ops[tail].inputs
            and source != project.output
        ):
            last, out_value, residual = tail, ops[tail].output, True
        frozen = any(ops[p].frozen for p in (*parts, last))
        inner = tuple(ops[p].layers[0] for p in parts)
        fused[last] = Op(OpKind.block, (source,), out_value, inner, residual, frozen=frozen)
        gone.update(parts)
    return [fused.get(i, op) for i, op in enumerate(ops) if i in fused or i not in gone]


def _fuse_heads(ops: list[Op], layers: list[Layer], ends: list[int], values: list[Value]) -> list[Op]:
    """A pointwise convolution whose only reader is a global average pooling."""
    readers = _readers(ops, ends)
    fused: dict[int, Op] = {}
    gone: set[int] = set()
    for i, op in enumerate(ops):
        if op.kind != OpKind.conv or layers[op.layers[0]].kind != "pointwise":
            continue
        reader = readers.get(op.output, [])
        if len(reader) != 1 or reader[0] >= len(ops):
            continue
        pool = ops[reader[0]]
        size = values[op.output]
        if _pools_all(pool, size, values[pool.output]):
            fused[reader[0]] = Op(OpKind.head, op.inputs, pool.output, op.layers, frozen=op.frozen or pool.frozen)
            gone.add(i)
    return [fused.get(i, op) for i, op in enumerate(ops) if i not in gone]


def _pools_all(op: Op, source: Value, result: Value) -> bool:
    """Whether an op averages over the whole image."""
    if op.kind != OpKind.pool or op.pool is None:
        return False
    window, padding = op.pool[:2], op.pool[4:6]
    return window == (source.height, source.width) and padding == (0, 0) and result.height == result.width == 1


def _native_begin(graph: Graph) -> int:
    """First op from which on everything is native and enters through one activation."""
    last = max((i for i, op in enumerate(graph.ops) if op.kind is None), default=-1)
    begin = last + 1
    while begin < len(graph.ops) and len(graph.crossing(begin)) != 1:
        begin += 1
    return begin
