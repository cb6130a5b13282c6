"""What comes after the last layer: ops without weights at the very end of a network, which torch runs.

They are part of the loss, so to speak: autograd goes back through them, and what it arrives with is the gradient of the
native program's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .._C import OpKind
from .behaviour import is_stateless, runs_as
from .raw_op import RawOp
from .reader import name_of
from .shapes import resolve, shape_of

#: Spellings of what makes probabilities, or their logarithms, of one number a class.
_OVER_CLASSES: dict[Any, str] = {
    **dict.fromkeys((functional.log_softmax, torch.log_softmax, "log_softmax", nn.LogSoftmax), "log_softmax"),
    **dict.fromkeys((functional.softmax, torch.softmax, "softmax", nn.Softmax), "softmax"),
}
#: What only deals numbers out, and costs torch nothing.
_MOVES = (OpKind.reshape, OpKind.channels, OpKind.gather)


@dataclass(frozen=True)
class Tail:
    """What torch runs after the native program.

    Attributes:
        handed: names of the traced nodes that it begins with.
        shapes: theirs, for one image.
        ops: what it runs, by classes of modules and names of functions.
        over_classes: ``"softmax"`` or ``"log_softmax"`` if it is that and nothing else, over one number a class.
    """

    handed: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    ops: tuple[str, ...]
    over_classes: str | None = None

    @property
    def listed(self) -> str:
        """What it runs, in one phrase."""
        return listed(self.ops)


def listed(ops: Sequence[str]) -> str:
    """Each kind and how many there are of it."""
    return ", ".join(f"{what} ({ops.count(what)})" for what in dict.fromkeys(ops))


def split(
    raw: Sequence[RawOp],
    source: fx.Node,
    returned: Sequence[fx.Node],
    apart: frozenset[fx.Node],
    traced: fx.GraphModule,
) -> tuple[list[RawOp], list[fx.Node], Tail | None]:
    """The ops that come before the tail, the nodes that they hand over, and the tail: None without any.

    To the tail belongs what is not native, has neither weights nor statistics, and has nothing of that kind behind it;
    whatever reads what such an op makes; what only moves numbers for it; and softmax over the classes. A network that
    returns one tensor of a native op has none.

    Args:
        raw: all ops of a network in their order.
        source: the images.
        returned: the nodes that the network returns.
        apart: nodes whose numbers torch has in another order than native code.
        traced: the trace that these are nodes of.
    """
    output = traced.graph.output_node().args[0]
    last = next((op for op in raw if op.output is output), None)
    over = None if last is None else _over_classes(last, traced)
    inside = _inside(raw, apart, traced, last if over is not None else None)
    before, own = ([op for op, of_tail in zip(raw, inside, strict=True) if of_tail is where] for where in (False, True))
    read = {node for op in own for node in op.inputs}.union(returned) - {op.output for op in own}
    handed = [node for node in (source, *(op.output for op in before)) if node in read]
    if not own and isinstance(output, fx.Node) and len(shape_of(output)) in (2, 4):
        return before, handed, None
    kinds = tuple(op.what for op in own if op.kind not in _MOVES and not isinstance(op.output.target, type))
    over = over if own == [last] and len(handed) == 1 else None
    names, shapes = tuple(name_of(node) for node in handed), tuple(shape_of(node)[1:] for node in handed)
    return before, handed, Tail(names, shapes, kinds, over)


def _inside(
    raw: Sequence[RawOp], apart: frozenset[fx.Node], traced: fx.GraphModule, over_classes: RawOp | None
) -> list[bool]:
    """Of each op whether it belongs to the tail."""
    made = {op.output: i for i, op in enumerate(raw)}
    sources = [[made[node] for node in op.inputs if node in made] for op in raw]
    readers: list[list[int]] = [[] for _ in raw]
    for reader, of in enumerate(sources):
        for i in of:
            readers[i].append(reader)
    parameters = {name for name, _ in traced.named_parameters(remove_duplicate=False)}
    able: list[bool] = []  # stateless, and behind what is native or able as well
    for op, of in zip(raw, sources, strict=True):
        native = all(able[i] or raw[i].kind is not None for i in of) and not apart.intersection(op.inputs)
        able.append(native and _is_stateless(op, traced, parameters))
    ends = [False] * len(raw)  # so is all that is behind it
    for i in reversed(range(len(raw))):
        ends[i] = able[i] and all(ends[reader] for reader in readers[i])
    inside: list[bool] = []
    for i, op in enumerate(raw):
        begins = op.kind is None or op is over_classes
        inside.append(ends[i] and (begins or any(inside[j] for j in sources[i])))
    for i in reversed(range(len(raw))):
        if raw[i].kind in _MOVES and able[i] and readers[i]:
            inside[i] = inside[i] or all(inside[reader] for reader in readers[i])
    return inside


def _is_stateless(op: RawOp, traced: fx.GraphModule, parameters: set[str]) -> bool:
    if op.frozen or "writes_views" in op.output.meta:
        return False
    if op.layer is not None and (op.layer.tensors.mean is not None or parameters.intersection(op.layer.tensors.names)):
        return False  # of buffers alone, a scale that is no parameter for example, there is nothing to train
    if any(node.op == "get_attr" and node.target in parameters for node in op.output.all_input_nodes):
        return False
    return op.output.op != "call_module" or is_stateless(traced.get_submodule(str(op.output.target)))


def _over_classes(op: RawOp, traced: fx.GraphModule) -> str | None:
    """Which of :data:`_OVER_CLASSES` an op is, if it makes them of [N, classes]."""
    node, shape = op.output, shape_of(op.inputs[0]) if len(op.inputs) == 1 else ()
    if len(shape_of(node)) != 2 or shape_of(node) != shape[:2] or set(shape[2:]) - {1}:
        return None
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        kind: Any = next((k for k in (nn.LogSoftmax, nn.Softmax) if runs_as(module, k)), None)
        return _OVER_CLASSES.get(kind) if getattr(module, "dim", None) in (1, -1) else None
    dim = resolve(node.args[1] if len(node.args) > 1 else node.kwargs.get("dim"))
    more = {name for name, value in node.kwargs.items() if value is not None} - {"input", "dim", "_stacklevel"}
    plain = len(node.args) <= 2 and not more
    return _OVER_CLASSES.get(node.target) if plain and dim in (1, -1) else None
