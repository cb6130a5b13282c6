"""Putting ops together: layers with what follows them, inverted residuals, the head."""

from __future__ import annotations

from dataclasses import replace

from torch import fx

from .._C import Activation, OpKind
from .layer import Layer, LayerTensors, Value
from .op import Op
from .raw_op import RawOp, Weighted

_CONVOLUTIONS = (OpKind.conv, OpKind.depthwise, OpKind.conv_transpose)
_ACTIVATED = (*_CONVOLUTIONS, OpKind.norm)
_FUSED = (Activation.relu, Activation.relu6)


def fuse_layers(raw: list[RawOp], ends: list[fx.Node]) -> list[RawOp]:
    """Absorbs batch norms and activations, and zeros in front of a convolution.

    Only where what lies between has no other reader, and is none of the ``ends``.
    """
    readers: dict[fx.Node, int] = dict.fromkeys(ends, 1)
    for op in raw:
        for node in op.inputs:
            readers[node] = readers.get(node, 0) + 1
    out: list[RawOp] = []
    moved: set[int] = set()
    producer: dict[fx.Node, int] = {}
    for op in raw:
        before = producer.get(op.inputs[0]) if op.inputs else None
        absorbed = None
        if before is not None and readers[op.inputs[0]] == 1:
            absorbed = _absorbed(out[before], op)
        if absorbed is not None and before is not None:
            # Move to the end: ops in between do not read it, its only reader was `op`.
            moved.add(before)
            op = absorbed
        producer[op.output] = len(out)
        out.append(op)
    return [op for i, op in enumerate(out) if i not in moved]


def _absorbed(first: RawOp, second: RawOp) -> RawOp | None:
    """Both as one op, if they can be."""
    made = None
    layer, own = first.layer, second.layer
    if first.kind == OpKind.zeros and second.kind in (OpKind.conv, OpKind.depthwise) and own is not None:
        top, left = first.details.zeros
        zeros = own.window.padding[0] + top, own.window.padding[1] + left
        window = replace(own.window, padding=zeros)
        kind = "conv" if own.kind == "pointwise" else own.kind
        return replace(second, inputs=first.inputs, layer=replace(own, window=window, kind=kind))
    if layer is None or first.activation != Activation.identity:
        return None
    if second.kind == OpKind.norm and own is not None and own.norm is not None and first.kind in _CONVOLUTIONS:
        if layer.norm is None:
            made = replace(first, output=second.output, layer=_with_norm(layer, own))
    elif second.kind == OpKind.activation and second.activation in _FUSED and first.kind in _ACTIVATED:
        made = replace(first, activation=second.activation, output=second.output)
    return made if made is None else replace(made, frozen=first.frozen or second.frozen)


def _with_norm(layer: Weighted, norm: Weighted) -> Weighted:
    own, added = layer.tensors, norm.tensors
    tensors = LayerTensors(own.weight, own.bias, added.gamma, added.beta, added.mean, added.var)
    return replace(layer, norm=norm.norm, tensors=tensors, eps=norm.eps)


def _readers(ops: list[Op], ends: list[int]) -> dict[int, list[int]]:
    readers: dict[int, list[int]] = {end: [len(ops)] for end in ends}
    for i, op in enumerate(ops):
        for v in op.inputs:
            readers.setdefault(v, []).append(i)
    return readers


def fuse_blocks(ops: list[Op], layers: list[Layer], ends: list[int]) -> list[Op]:
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


def fuse_heads(ops: list[Op], layers: list[Layer], ends: list[int], values: list[Value]) -> list[Op]:
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
