"""Reading traced nodes as ops: what each module, function and method means natively."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.nn import functional

from ..errors import UnsupportedModel
from .behaviour import has_hooks, patched
from .layer import Value
from .places import value_of
from .raw_op import RawOp
from .read_across import read_across
from .read_activations import read_activation
from .read_arithmetic import read_arithmetic, read_dropout, read_zeros
from .read_layers import read_layer
from .read_norms import read_norm, read_prelu
from .read_pools import read_pool
from .reader import Reader
from .shapes import is_value, shape_of
from .tracing import Traces

_READERS = (read_layer, read_norm, read_activation, read_prelu, read_pool, read_across, read_arithmetic, read_zeros)
#: Of which training mode only says that statistics change, which those of a converted network never do.
_FREEZES = (functional.batch_norm, torch.batch_norm)


class Reading(NamedTuple):
    """A trace as ops.

    Attributes:
        ops: all of them, in order.
        source: the node of the images.
        results: the nodes that the model returns.
        apart: nodes of activations whose numbers torch has in another order than [N, C, H, W].
    """

    ops: list[RawOp]
    source: fx.Node
    results: list[fx.Node]
    apart: frozenset[fx.Node]


def read_ops(traces: Traces) -> Reading:
    """All ops of a traced model.

    Raises:
        UnsupportedModel: more than one input, or no output.
    """
    reader = Reader(traces)
    source: fx.Node | None = None
    written = [node for node in traces.evaluation.graph.nodes if "writes_views" in node.meta]
    for node in traces.evaluation.graph.nodes:
        if node.op == "placeholder":
            if str(node.target).startswith("*"):
                raise UnsupportedModel("the model takes any number of inputs; expected one batch of images")
            if source is not None:
                if node.args:  # an optional argument that keeps its default
                    continue
                raise UnsupportedModel("the model takes more than one input; expected one batch of images")
            source = node
            reader.begin(node, _size(node))
        elif node.op == "output":
            if source is None:
                raise UnsupportedModel("the model takes no input; expected one batch of images")
            tensors = [n for n in node.all_input_nodes if n.op != "get_attr" and not is_value(n)]
            results = [image for n in tensors for image in _images(reader, n)]
            if not results:
                raise UnsupportedModel("the model returns nothing that depends on its images")
            return Reading(reader.ops, source, results, reader.apart)
        elif node.op == "get_attr":
            if shape_of(node):
                reader.places.begin(node, 0)
        elif not is_value(node):
            _read(reader, node, bool(written) and node < written[-1])
    raise UnsupportedModel("the model returns nothing")


def differs(node: fx.Node, other: fx.Node) -> bool:
    """Whether two nodes of one name have different arguments."""

    def named(n: fx.Node) -> Any:
        return fx.node.map_arg((n.args, n.kwargs), lambda argument: argument.name)

    return bool(named(node) != named(other))


def _size(node: fx.Node) -> Value:
    return value_of(shape_of(node)) or Value(1, 1, 0)  # others are only ever read by torch ops


def _read(reader: Reader, node: fx.Node, before_write: bool) -> None:
    """Adds the ops that a node is, or one that torch runs; or follows it where it only moves numbers."""
    module, before = reader.module(node), len(reader.ops)
    training = reader.training_node(node)
    what, where = _describe(node, module)
    note = ""
    if "writes_views" in node.meta:
        note = " on a view that is read elsewhere"
    elif not before_write:  # what native code reads must not change while torch still writes
        if not differs(node, training) and (reader.places.move(node, module)):
            _freeze(reader, node, training)
            return
        dropped = read_dropout(reader, node, module)
        if dropped is None:
            note = " that evaluation mode does not end"
        elif not dropped and differs(node, training) and node.target not in _FREEZES:
            note = " (training mode gives it other arguments)"
        elif dropped or any(read(reader, node, module) for read in _READERS):
            _describe_new(reader, before, what, where, training.meta["no_grad"])
            if len(reader.ops) == before:
                _freeze(reader, node, training)
            return
    _leave_to_torch(reader, node, module, what + note, where, training.meta["no_grad"])


def _describe_new(reader: Reader, before: int, what: str, where: str, frozen: bool) -> None:
    reader.ops[before:] = [replace(op, what=what, where=where, frozen=frozen) for op in reader.ops[before:]]


def _freeze(reader: Reader, node: fx.Node, training: fx.Node) -> None:
    """Under no_grad a node that only gives a name to what an op made: no gradient reaches that op from here."""
    if training.meta["no_grad"] and reader.is_native(node):
        made = reader.places[node].base
        reader.ops[:] = [replace(op, frozen=True) if op.output is made else op for op in reader.ops]


def _leave_to_torch(
    reader: Reader, node: fx.Node, module: nn.Module | None, what: str, where: str, frozen: bool
) -> None:
    weighted = any(n.op == "get_attr" for n in node.all_input_nodes)
    weighted = weighted or (module is not None and any(True for _ in module.parameters()))
    tensors = [n for n in reader.tensors(node) if n.op != "get_attr"]
    inputs = [image for n in tensors for image in _images(reader, n) if image.op != "get_attr"]
    value = _size(node)
    reader.ops.append(
        RawOp(None, tuple(dict.fromkeys(inputs)), node, value, what=what, where=where, weighted=weighted, frozen=frozen)
    )
    if reader.is_tensor(node) and value.channels:
        reader.begin(node, value)


def _images(reader: Reader, node: fx.Node) -> list[fx.Node]:
    """The activations that a node is for torch: itself as an image where native code can make that."""
    image = reader.handed_over(node)
    return [image] if image is not None else reader.places.bases(node)


def _describe(node: fx.Node, module: nn.Module | None) -> tuple[str, str]:
    if module is None:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        return name.strip("_"), node.meta["owner"]
    added = " with hooks" if has_hooks(module) else f" with another {patched(module)}" if patched(module) else ""
    return type(module).__name__ + added, str(node.target)
