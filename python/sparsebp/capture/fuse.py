"""Putting ops together: layers with what follows them, inverted residuals, the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import fx

from .._C import Activation, OpKind
from .layer import Layer, LayerTensors, Value, Window
from .op import PLAIN_CURVES, Op
from .raw_op import PLAIN, RawOp, Weighted

_CONVOLUTIONS = (OpKind.conv, OpKind.depthwise, OpKind.conv_transpose)
_ACTIVATED = (*_CONVOLUTIONS, OpKind.norm)
_FUSED = (Activation.relu, Activation.relu6)


def fuse_layers(raw: list[RawOp], ends: list[fx.Node], sizes: Mapping[fx.Node, Value]) -> list[RawOp]:
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
            absorbed = _absorbed(out[before], op, sizes)
        if absorbed is not None and before is not None:
            # Move to the end: ops in between do not read it, its only reader was `op`.
            moved.add(before)
            op = absorbed
        producer[op.output] = len(out)
        out.append(op)
    return [op for i, op in enumerate(out) if i not in moved]


def _absorbed(first: RawOp, second: RawOp, sizes: Mapping[fx.Node, Value]) -> RawOp | None:
    """Both as one op, if they can be."""
    made = None
    layer, own = first.layer, second.layer
    if first.kind == OpKind.zeros and second.kind in (OpKind.conv, OpKind.depthwise) and own is not None:
        top, left = first.details.zeros
        zeros = own.window.padding[0] + top, own.window.padding[1] + left
        window = replace(own.window, padding=zeros)
        if not _begins_inside(window, sizes[first.inputs[0]], second.value):
            return None
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


def _begins_inside(window: Window, source: Value, result: Value) -> bool:
    """Whether even the last window begins inside the image or in the zeros in front of it, as native code wants it."""
    sides = zip(
        (source.height, source.width), (result.height, result.width), window.stride, window.padding, strict=True
    )
    return all((out - 1) * stride - zeros < size for size, out, stride, zeros in sides)


def _with_norm(layer: Weighted, norm: Weighted) -> Weighted:
    own, added = layer.tensors, norm.tensors
    tensors = LayerTensors(own.weight, own.bias, added.gamma, added.beta, added.mean, added.var)
    return replace(layer, norm=norm.norm, tensors=tensors, eps=norm.eps)


def readers_of(ops: list[Op], ends: list[int]) -> dict[int, list[int]]:
    """Of each value, the ops that read it; behind the last op the ends are read."""
    readers: dict[int, list[int]] = {end: [len(ops)] for end in ends}
    for i, op in enumerate(ops):
        for v in op.inputs:
            readers.setdefault(v, []).append(i)
    return readers


def fuse_blocks(ops: list[Op], layers: list[Layer], ends: list[int]) -> list[Op]:
    """(pointwise ->) depthwise -> pointwise without activation (+ input): one inverted residual."""
    readers = readers_of(ops, ends)
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
            and ops[tail].details == PLAIN  # not a difference
            and set(ops[tail].inputs) == {source, project.output}
            and layers[ops[parts[0]].layers[0]].input == layers[project.layers[0]].output  # nothing is spread
        ):
            last, out_value, residual = tail, ops[tail].output, True
        frozen = any(ops[p].frozen for p in (*parts, last))
        inner = tuple(ops[p].layers[0] for p in parts)
        fused[last] = Op(OpKind.block, (source,), out_value, inner, residual, frozen=frozen)
        gone.update(parts)
    return [fused.get(i, op) for i, op in enumerate(ops) if i in fused or i not in gone]


def fuse_heads(ops: list[Op], layers: list[Layer], ends: list[int], values: list[Value]) -> list[Op]:
    """A pointwise convolution whose only reader is a global average pooling, behind any activation.

    ``layers`` get their activations.
    """
    readers = readers_of(ops, ends)
    fused: dict[int, Op] = {}
    gone: set[int] = set()

    def only_reader(v: int) -> int | None:
        return readers[v][0] if len(readers.get(v, [])) == 1 and readers[v][0] < len(ops) else None

    for i, op in enumerate(ops):
        if op.kind != OpKind.conv or layers[op.layers[0]].kind != "pointwise":
            continue
        parts, layer = [i], layers[op.layers[0]]
        reader = only_reader(op.output)
        if reader is not None and layer.activation == Activation.identity and ops[reader].activation in PLAIN_CURVES:
            parts.append(reader)
            layer = replace(layer, activation=ops[reader].activation)
            reader = only_reader(ops[reader].output)
        if reader is None or not _pools_all(ops[reader], values[op.output], values[ops[reader].output]):
            continue
        pool, frozen = ops[reader], any(ops[p].frozen for p in (*parts, reader))
        layers[op.layers[0]] = layer
        fused[reader] = Op(OpKind.head, op.inputs, pool.output, op.layers, frozen=frozen)
        gone.update(parts)
    return [fused.get(i, op) for i, op in enumerate(ops) if i not in gone]


def _pools_all(op: Op, source: Value, result: Value) -> bool:
    """Whether an op averages over the whole image."""
    if op.kind != OpKind.pool or op.pool is None:
        return False
    window, padding = op.pool[:2], op.pool[4:6]
    return window == (source.height, source.width) and padding == (0, 0) and result.height == result.width == 1
