"""Finding inverted residuals with any activations, or with a gate per channel, in a graph's ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .._C import Activation, OpKind
from .layer import Layer, Value
from .op import PLAIN_CURVES, Op
from .raw_op import PLAIN


class Gated(NamedTuple):
    """A block that was found.

    Attributes:
        layers: in the order of the native op, each with its activation.
        source: the value that it reads.
        last: the op whose output it makes.
        residual: whether it adds what it reads.
        parts: the ops that it is made of.
    """

    layers: tuple[tuple[int, Activation], ...]
    source: int
    last: int
    residual: bool
    parts: frozenset[int]


@dataclass
class GatedChain:
    """The way from a depthwise convolution to the ends of its block.

    Attributes:
        ops: of a graph.
        layers: of the same.
        values: of the same.
        readers: of each value, the ops that read it.
        producer: of each value, the op that makes it.
        taken: ops that belong to a block already.
        parts: those that were passed.
    """

    ops: Sequence[Op]
    layers: Sequence[Layer]
    values: Sequence[Value]
    readers: Mapping[int, Sequence[int]]
    producer: Mapping[int, int]
    taken: set[int]
    parts: set[int] = field(default_factory=set)

    def follow(self, start: int) -> Gated | None:
        """The block around the depthwise convolution ``start``; None if there is none, or a plain one."""
        self.parts = {start}
        source, expand = self._expansion(start)
        output, filter_activation = self._activation(self.ops[start].output, self._own(start))
        output, gate = self._gate(output)
        end = self._only_reader(output)
        if end is None or not self._is_pointwise(end) or self._own(end) != Activation.identity:
            return None
        self.parts.add(end)
        activations = [a for _, a in (*expand, *gate)] + [filter_activation]
        if not gate and all(a in (Activation.identity, Activation.relu, Activation.relu6) for a in activations):
            return None  # what a block is
        last, residual = end, False
        tail = self._only_reader(self.ops[end].output)
        if tail is not None and self._adds(tail, source, self.ops[end].output):
            last, residual = tail, True
        own, end_layer = (self.ops[start].layers[0], filter_activation), self.ops[end].layers[0]
        found = (*expand, own, *gate, (end_layer, Activation.identity))
        if self.taken.intersection(self.parts):
            return None
        return Gated(found, source, last, residual, frozenset(self.parts))

    def _own(self, op: int) -> Activation:
        return self.layers[self.ops[op].layers[0]].activation

    def _only_reader(self, value: int) -> int | None:
        found = self.readers.get(value, ())
        return found[0] if len(found) == 1 and found[0] < len(self.ops) else None

    def _is_pointwise(self, op: int) -> bool:
        item = self.ops[op]
        return item.kind == OpKind.conv and self.layers[item.layers[0]].kind == "pointwise"

    def _adds(self, op: int, source: int, other: int) -> bool:
        """Whether it is the sum of both, neither of which is spread over the other."""
        item, alike = self.ops[op], self.values[source] == self.values[other]
        return item.kind == OpKind.add and item.details == PLAIN and set(item.inputs) == {source, other} and alike

    def _activation(self, value: int, own: Activation) -> tuple[int, Activation]:
        """The value behind an activation of ``value``, where its only reader is one; and that."""
        reader = self._only_reader(value)
        if own != Activation.identity or reader is None:
            return value, own
        op = self.ops[reader]
        if op.kind != OpKind.activation or op.activation not in PLAIN_CURVES:
            return value, own
        self.parts.add(reader)
        return op.output, op.activation

    def _expansion(self, start: int) -> tuple[int, tuple[tuple[int, Activation], ...]]:
        """What the block reads, and the layer in front of the depthwise one if it expands what is read."""
        value = self.ops[start].inputs[0]
        before, parts, activation = self.producer.get(value), set[int](), Activation.identity
        if before is not None and self.ops[before].kind == OpKind.activation and self._only_reader(value) == start:
            op = self.ops[before]
            if op.activation in PLAIN_CURVES and self._only_reader(op.inputs[0]) == before:
                parts, activation = {before}, op.activation
                before = self.producer.get(op.inputs[0])
        if before is None or not self._is_pointwise(before):
            return value, ()
        made = self.ops[before].output
        if self._only_reader(made) not in (start, *parts):
            return value, ()
        own = self._own(before)
        if own != Activation.identity and activation != Activation.identity:
            return value, ()
        self.parts |= {before, *parts}
        applied = activation if own == Activation.identity else own
        return self.ops[before].inputs[0], ((self.ops[before].layers[0], applied),)

    def _gate(self, value: int) -> tuple[int, tuple[tuple[int, Activation], ...]]:
        """The value behind a gate of ``value``, and the gate's two layers; none of them if there is no gate."""
        readers = [i for i in self.readers.get(value, ()) if i < len(self.ops)]
        if len(readers) != 2 or len(self.readers[value]) != 2:
            return value, ()
        pool, times = sorted(readers, key=lambda i: self.ops[i].kind == OpKind.multiply)
        if self.ops[times].kind != OpKind.multiply or not self._is_mean(pool, value):
            return value, ()
        parts, at, found = set(self.parts), self.ops[pool].output, []
        for _ in range(2):
            layer = self._only_reader(at)
            if layer is None or not self._is_gate_layer(layer):
                self.parts = parts
                return value, ()
            self.parts.add(layer)
            at, activation = self._activation(self.ops[layer].output, self._own(layer))
            found.append((self.ops[layer].layers[0], activation))
        if self.ops[times].inputs != (value, at) or self._only_reader(at) != times:
            self.parts = parts
            return value, ()
        self.parts |= {pool, times}
        return self.ops[times].output, tuple(found)

    def _is_gate_layer(self, op: int) -> bool:
        item = self.ops[op]
        if item.kind != OpKind.conv:
            return False
        layer = self.layers[item.layers[0]]
        return (
            layer.kind in ("pointwise", "linear") and layer.norm is None and layer.input.count == layer.input.channels
        )

    def _is_mean(self, op: int, value: int) -> bool:
        item, size = self.ops[op], self.values[value]
        if item.kind != OpKind.pool or item.pool is None:
            return False
        result = self.values[item.output]
        whole = item.pool[:2] == (size.height, size.width) and item.pool[4:6] == (0, 0)
        return whole and result.height == result.width == 1


def fuse_gated(
    ops: list[Op], layers: list[Layer], readers: Mapping[int, Sequence[int]], values: list[Value]
) -> list[Op]:
    """Ops with gated blocks in place of what these are made of.

    (pointwise -> activation ->) depthwise -> activation (-> mean -> layer -> activation -> layer -> activation, times
    what it was made of) -> pointwise without activation (+ input). ``layers`` get their activations.
    """
    producer = {op.output: i for i, op in enumerate(ops)}
    fused: dict[int, Op] = {}
    gone: set[int] = set()
    for i, op in enumerate(ops):
        if op.kind != OpKind.depthwise:
            continue
        found = GatedChain(ops, layers, values, readers, producer, gone).follow(i)
        if found is None:
            continue
        for layer, activation in found.layers:
            layers[layer] = replace(layers[layer], activation=activation)
        frozen = any(ops[p].frozen for p in (*found.parts, found.last))
        inner = tuple(layer for layer, _ in found.layers)
        fused[found.last] = Op(
            OpKind.gated, (found.source,), ops[found.last].output, inner, found.residual, frozen=frozen
        )
        gone |= found.parts | {found.last}
    return [fused.get(i, op) for i, op in enumerate(ops) if i in fused or i not in gone]
