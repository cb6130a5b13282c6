"""By what a plan knows the network that it was made for: ops, shapes and names, everything but the weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from torch import nn

from ..capture.graph import Graph
from ..capture.layer import LayerTensors, Value
from ..capture.raw_op import Details
from ..capture.tail import listed

#: Activations behind which numbers are probabilities rather than logits.
_SQUASHING = ("sigmoid", "hardsigmoid", "tanh")


@dataclass(frozen=True)
class LayerPrint:
    """One convolution or linear layer.

    Attributes:
        name: as in the original model's ``named_modules()``.
        kind: ``"pointwise"``, ``"depthwise"``, ``"conv"``, ``"transposed"``, ``"linear"``, or ``"norm"``.
        norm: name of the batch norm behind it.
        activation: ``"identity"``, ``"relu"`` or ``"relu6"``.
        input: what it reads.
        output: what it makes.
        weight: shape of its weight, if it has one.
        tensors: the names of its parameters and buffers.
        stride: down and across; likewise padding and dilation.
        padding: see stride.
        dilation: see stride.
        groups: of a convolution.
        shared: whether one number scales all channels.
    """

    name: str
    kind: str
    norm: str | None
    activation: str
    input: Value
    output: Value
    weight: tuple[int, ...]
    tensors: LayerTensors
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    shared: bool


@dataclass(frozen=True)
class OpPrint:
    """One op; see :class:`sparsebp.capture.graph.Op`."""

    kind: str
    what: str
    inputs: tuple[int, ...]
    output: int
    result: Value
    layers: tuple[int, ...]
    residual: bool
    activation: str
    pool: tuple[int, int, int, int, int, int, bool] | None
    drops: bool
    frozen: bool
    details: Details


@dataclass(frozen=True)
class TailPrint:
    """What torch runs after the native ops; see :class:`sparsebp.capture.tail.Tail`."""

    shapes: tuple[tuple[int, ...], ...]
    ops: tuple[str, ...]
    over_classes: str | None

    @property
    def listed(self) -> str:
        """Its ops in one phrase; an empty one if it only hands over."""
        return listed(self.ops)


@dataclass(frozen=True)
class Fingerprint:
    """A whole network, in execution order.

    Attributes:
        dtype: of the weights, ``"float32"`` or ``"float64"``.
        layers: its convolutions and linear layers.
        ops: what runs one after the other; their layers are places in ``layers``.
        native_begin: the first op that runs natively.
        flat: whether native ops make one number a class rather than an image.
        tail: what torch runs after them.
    """

    dtype: str
    layers: tuple[LayerPrint, ...]
    ops: tuple[OpPrint, ...]
    native_begin: int
    flat: bool
    tail: TailPrint | None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def trains_from(self) -> int:
        """First op that may train."""
        stops = [i for i, op in enumerate(self.ops) if op.frozen]
        return max(self.native_begin, stops[-1] + 1 if stops else 0)

    @property
    def native_ops(self) -> int:
        """How many ops run natively, in one program."""
        return len(self.ops) - self.native_begin

    @property
    def beyond_logits(self) -> str:
        """What makes of one number a class something that is no logits; empty if nothing does."""
        if self.tail is not None:
            return self.tail.over_classes or self.tail.listed or "several tensors"
        last = self.ops[-1]
        squashes = last.kind == "softmax" or (last.kind == "activation" and last.activation in _SQUASHING)
        return last.what if squashes else ""

    def layers_from(self, begin: int) -> list[int]:
        """Layers of op ``begin`` and of those after it."""
        return [layer for op in self.ops[begin:] for layer in op.layers]

    def name_of(self, op: int) -> str:
        """An op by its first layer or what it is, for messages."""
        item = self.ops[op]
        return f"op {op}, {self.layers[item.layers[0]].name}" if item.layers else f"op {op}, {item.what or item.kind}"

    def difference(self, other: Fingerprint) -> str | None:
        """What the other network has that this one has not, or the other way round; None if they are the same."""
        if self.dtype != other.dtype:
            return f"the weights were {self.dtype}, here they are {other.dtype}"
        own, others = ({layer.name: layer for layer in known.layers} for known in (self, other))
        missing = next((name for name in own if name not in others), None)
        if missing is not None:
            return f"layer {missing} is missing here"
        fresh = next((name for name in others if name not in own), None)
        if fresh is not None:
            return f"layer {fresh} was not there"
        for name, layer in own.items():
            difference = _of_fields(layer, others[name])
            if difference is not None:
                return f"layer {name}: {difference}"
        for i, (op, another) in enumerate(zip(self.ops, other.ops, strict=False)):
            difference = _of_fields(op, another)
            if difference is not None:
                return f"{self.name_of(i)}: {difference}"
        if len(self.ops) != len(other.ops):
            return f"it had {len(self.ops)} ops, here there are {len(other.ops)}"
        if self.flat != other.flat:
            return "it returned one number a class, here an image" if self.flat else "it returned an image"
        if self.tail != other.tail:
            return "after the last layer something else runs in torch, or is handed over"
        return None if self == other else "layers run in another order"

    def check(self) -> None:
        """Raises ValueError unless numbers of ops and layers mean something; for what comes from a file."""
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"plan.network.dtype: expected float32 or float64, got {self.dtype!r}")
        used = self.layers_from(0)
        if len(used) != len(set(used)) or not all(0 <= layer < len(self.layers) for layer in used):
            raise ValueError(f"plan.network.ops: expected each of {len(self.layers)} layers at most once")
        if not 0 <= self.native_begin < len(self.ops):
            raise ValueError(f"plan.network.native_begin: expected 0 to {len(self.ops) - 1}, got {self.native_begin}")


def fingerprint(graph: Graph, model: nn.Module) -> Fingerprint:
    """What is known of ``model``, which was read as ``graph``."""
    layers = []
    for layer in graph.layers:
        weight, window = layer.tensors.weight, layer.window
        layers.append(
            LayerPrint(
                layer.name,
                layer.kind,
                layer.norm,
                layer.activation.name,
                layer.input,
                layer.output,
                tuple(model.get_parameter(weight).shape) if weight is not None else (),
                layer.tensors,
                window.stride,
                window.padding,
                window.dilation,
                window.groups,
                layer.shared,
            )
        )
    ops = tuple(
        OpPrint(
            op.kind.name if op.kind is not None else "torch",
            op.what,
            op.inputs,
            op.output,
            graph.values[op.output],
            op.layers,
            op.residual,
            op.activation.name,
            op.pool,
            op.drop > 0,
            op.frozen,
            op.details,
        )
        for op in graph.ops
    )
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    tail = graph.tail
    after = None if tail is None else TailPrint(tail.shapes, tail.ops, tail.over_classes)
    return Fingerprint(dtype, tuple(layers), ops, graph.native_begin, graph.output_is_flat, after)


def _of_fields(one: Any, other: Any) -> str | None:
    """The first field in which two records of one kind differ."""
    for field in fields(one):
        was, here = getattr(one, field.name), getattr(other, field.name)
        if isinstance(was, (LayerTensors, Details)) and was != here:
            return _of_fields(was, here)
        if was != here:
            return f"{field.name} was {_shown(was)}, here it is {_shown(here)}"
    return None


def _shown(value: object) -> str:
    if isinstance(value, Value):
        return f"{value.channels}x{value.height}x{value.width}"
    return str(list(value)) if isinstance(value, tuple) else str(value)
