"""Reading traced nodes as ops: what each module, function and method means natively."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .._C import Activation, OpKind
from ..errors import UnsupportedModel
from .behaviour import has_hooks, patched, runs_as
from .shapes import is_value, resolve, shape_of
from .tracing import Traces

Pool = tuple[int, int, int, int, int, int, bool]


@dataclass(frozen=True)
class RawOp:
    """One op before fusion. ``inputs`` and ``output`` are fx nodes."""

    kind: OpKind | None  # None: torch runs it
    inputs: tuple[fx.Node, ...]
    output: fx.Node
    module: str = ""
    layer_kind: str = ""
    norm: str | None = None  # the batch norm that was fused into it
    is_norm: bool = False  # a batch norm, which torch runs unless it is fused into a convolution
    activation: Activation = Activation.identity
    pool: Pool | None = None
    drop: float = 0.0
    what: str = ""  # for messages: a module's class, or a function
    where: str = ""  # the module, or the one in whose forward the function is called
    weighted: bool = False  # a torch op with weights of its own
    frozen: bool = False  # under torch.no_grad: no gradient passes it


def read_ops(traces: Traces) -> tuple[list[RawOp], fx.Node, list[fx.Node]]:
    """All ops of a traced model, its input node and the nodes that it returns.

    Raises:
        UnsupportedModel: more than one input, or no output.
    """
    modules = dict(traces.evaluation.named_modules())
    training = {node.name: node for node in traces.training.graph.nodes}
    ops: list[RawOp] = []
    alias: dict[fx.Node, fx.Node] = {}
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
        elif node.op == "output":
            if source is None:
                raise UnsupportedModel("the model takes no input; expected one batch of images")
            results = [n for n in node.all_input_nodes if n.op != "get_attr" and not is_value(n)]
            if not results:
                raise UnsupportedModel("the model returns nothing that depends on its images")
            return ops, source, [alias.get(n, n) for n in results]
        elif node.op != "get_attr" and not is_value(node):
            op = _read(node, training[node.name], modules, alias, traces, bool(written) and node < written[-1])
            frozen = training[node.name].meta["no_grad"]
            if op is not None:
                ops.append(replace(op, frozen=True) if frozen else op)
            elif frozen:  # it only gives a name to what an op made: no gradient reaches that op from here
                made = alias[node]
                ops = [replace(other, frozen=True) if other.output is made else other for other in ops]
    raise UnsupportedModel("the model returns nothing")


def differs(node: fx.Node, other: fx.Node) -> bool:
    """Whether two nodes of one name have different arguments."""

    def named(n: fx.Node) -> Any:
        return fx.node.map_arg((n.args, n.kwargs), lambda argument: argument.name)

    return bool(named(node) != named(other))


def _native_shape(node: fx.Node, traces: Traces) -> bool:
    """Whether a node is what native ops read and write: a tensor [N, C] or [N, C, H, W] of the program's type."""
    shape = shape_of(node)
    return len(shape) in (2, 4) and shape[0] == traces.images and node.meta["dtype"] == traces.dtype


def _read(
    node: fx.Node,
    training: fx.Node,
    modules: dict[str, nn.Module],
    alias: dict[fx.Node, fx.Node],
    traces: Traces,
    before_write: bool,
) -> RawOp | None:
    tensors = tuple(alias.get(n, n) for n in node.all_input_nodes if n.op != "get_attr" and not is_value(n))
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    what, where = _describe(node, module)
    weighted = any(n.op == "get_attr" for n in node.all_input_nodes)
    weighted = weighted or (module is not None and any(True for _ in module.parameters()))
    fallback = RawOp(None, tensors, node, what=what, where=where, weighted=weighted)
    if len(tensors) == 1 and isinstance(module, nn.Identity) and runs_as(module, nn.Identity):
        alias[node] = tensors[0]
        return None
    if not tensors or not all(_native_shape(n, traces) for n in (tensors[0], node)):
        return fallback
    if "writes_views" in node.meta:
        return replace(fallback, what=f"{what} on a view that is read elsewhere")
    if before_write:  # what native code reads must not change while torch still writes
        return fallback
    if node.target in _DROPOUTS:
        known = _read_dropout(node, training, tensors)
        if known is None:
            return replace(fallback, what=f"{what} that evaluation mode does not end")
    elif differs(node, training):
        return replace(fallback, what=f"{what} (training mode gives it other arguments)")
    else:
        known = _read_module(node, tensors, module) if module is not None else _read_call(node, tensors)
    if known == "alias":
        alias[node] = tensors[0]
        return None
    return replace(known, what=what, where=where) if isinstance(known, RawOp) else fallback


def _describe(node: fx.Node, module: nn.Module | None) -> tuple[str, str]:
    if module is None:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        return name.strip("_"), node.meta["owner"]
    added = " with hooks" if has_hooks(module) else f" with another {patched(module)}" if patched(module) else ""
    return type(module).__name__ + added, str(node.target)


def _read_module(node: fx.Node, tensors: tuple[fx.Node, ...], m: nn.Module) -> RawOp | str | None:
    name = str(node.target)
    if len(tensors) != 1 or len(node.all_input_nodes) != 1:
        return None
    if isinstance(m, nn.Conv2d) and runs_as(m, nn.Conv2d) and m.padding_mode == "zeros":
        kind = conv_kind(m)
        return RawOp(OpKind.depthwise if kind == "depthwise" else OpKind.conv, tensors, node, name, kind)
    # Of the input itself: what it is an alias of may still be [N, C, 1, 1].
    if runs_as(m, nn.Linear) and len(shape_of(node.all_input_nodes[0])) == 2:
        return RawOp(OpKind.conv, tensors, node, name, "linear")
    if any(runs_as(m, kind) for kind in (nn.BatchNorm2d, nn.SyncBatchNorm)) and m.running_var is not None:
        return RawOp(None, tensors, node, name, is_norm=True)
    if runs_as(m, nn.ReLU):
        return RawOp(OpKind.activation, tensors, node, activation=Activation.relu)
    if isinstance(m, nn.Hardtanh) and runs_as(m, nn.Hardtanh) and (m.min_val, m.max_val) == (0, 6):  # as in a ReLU6
        return RawOp(OpKind.activation, tensors, node, activation=Activation.relu6)
    if isinstance(m, nn.Dropout) and runs_as(m, nn.Dropout):
        return RawOp(OpKind.dropout, tensors, node, drop=float(m.p))
    if runs_as(m, nn.Flatten):
        return _flatten(node, tensors[0])
    if runs_as(m, nn.AdaptiveAvgPool2d):
        return _global_pool(node, tensors[0])
    if isinstance(m, nn.AvgPool2d) and runs_as(m, nn.AvgPool2d):
        window = (m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override)
        return _average_pool(node, tensors[0], *window)
    return None


_DROPOUTS: dict[Any, str] = {functional.dropout: "training", torch.dropout: "train"}
"""And what their third argument is called."""


def _read_dropout(node: fx.Node, training: fx.Node, tensors: tuple[fx.Node, ...]) -> RawOp | str | None:
    def argument(of: fx.Node, position: int, name: str, default: Any) -> Any:
        return resolve(of.args[position] if len(of.args) > position else of.kwargs.get(name, default))

    on = _DROPOUTS[node.target]
    evaluated, trained = (bool(argument(n, 2, on, True)) for n in (node, training))
    p, other = argument(training, 1, "p", 0.5), argument(node, 1, "p", 0.5)
    if evaluated or not isinstance(p, (int, float)) or p != other:
        return None  # evaluation mode does not end it
    return RawOp(OpKind.dropout, tensors, node, drop=float(p)) if trained else "alias"


def _read_call(node: fx.Node, tensors: tuple[fx.Node, ...]) -> RawOp | str | None:
    target, kwargs = node.target, node.kwargs

    def argument(position: int, name: str, default: Any) -> Any:
        return resolve(node.args[position] if len(node.args) > position else kwargs.get(name, default))

    if target in (operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__iadd__"):
        same = len(tensors) == 2 and shape_of(tensors[0]) == shape_of(tensors[1]) == shape_of(node)
        return RawOp(OpKind.add, tensors, node) if same and resolve(kwargs.get("alpha", 1)) == 1 else None
    if len(tensors) != 1 or any(n.op == "get_attr" for n in node.all_input_nodes):
        return None
    x = tensors[0]
    if target in (functional.relu, torch.relu, "relu", "relu_", functional.relu_):
        return RawOp(OpKind.activation, tensors, node, activation=Activation.relu)
    if target is functional.relu6:
        return RawOp(OpKind.activation, tensors, node, activation=Activation.relu6)
    if target is functional.hardtanh and (argument(1, "min_val", -1), argument(2, "max_val", 1)) == (0, 6):
        return RawOp(OpKind.activation, tensors, node, activation=Activation.relu6)
    if target is functional.adaptive_avg_pool2d:
        return _global_pool(node, x)
    if target is functional.avg_pool2d:
        return _average_pool(
            node,
            x,
            argument(1, "kernel_size", None),
            argument(2, "stride", None),
            argument(3, "padding", 0),
            argument(4, "ceil_mode", False),
            argument(5, "count_include_pad", True),
            argument(6, "divisor_override", None),
        )
    if target in (torch.flatten, "flatten", "view", "reshape", torch.reshape, "squeeze"):
        return _flatten(node, x)
    if target in (torch.mean, "mean") and len(shape_of(x)) == 4:
        dims = argument(1, "dim", None)
        whole = isinstance(dims, (list, tuple)) and all(isinstance(d, int) for d in dims)
        if whole and sorted(d % 4 for d in dims) == [2, 3]:
            return _global_pool(node, x)
    if target in ("contiguous", "clone"):
        return "alias"
    return None


def conv_kind(m: nn.Conv2d) -> str:
    """``"depthwise"``, ``"pointwise"`` or ``"conv"``."""
    if m.groups > 1 and m.groups == m.in_channels == m.out_channels:
        return "depthwise"
    ones, zeros = (1, (1,), (1, 1)), (0, (0,), (0, 0), "valid", "same")
    plain = m.kernel_size in ones and m.stride in ones and m.groups == 1 and m.padding in zeros
    return "pointwise" if plain else "conv"


def _flatten(node: fx.Node, x: fx.Node) -> str | None:
    """[N, C, 1, 1] -> [N, C] moves no number; flattening a larger image would mix channels and pixels."""
    before, after = shape_of(x), shape_of(node)
    if before == after:
        return "alias"
    return "alias" if len(before) == 4 and before[2:] == (1, 1) and after == before[:2] else None


def _global_pool(node: fx.Node, x: fx.Node) -> RawOp | None:
    shape, out = shape_of(x), shape_of(node)
    if len(shape) != 4 or out not in ((*shape[:2], 1, 1), shape[:2]):
        return None
    height, width = shape[2:]
    return RawOp(OpKind.pool, (x,), node, pool=(height, width, height, width, 0, 0, True))


def _average_pool(
    node: fx.Node,
    x: fx.Node,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil: Any,
    count: Any,
    divisor: Any,
) -> RawOp | None:
    if ceil or divisor is not None or len(shape_of(x)) != 4:
        return None

    def pair(value: Any) -> tuple[Any, ...]:
        both = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        return both * 2 if len(both) == 1 else both

    window = (*pair(kernel), *pair(kernel if stride in (None, [], ()) else stride), *pair(padding))
    if len(window) != 6 or not all(isinstance(v, int) for v in window):
        return None
    kh, kw, sh, sw, ph, pw = window
    return RawOp(OpKind.pool, (x,), node, pool=(kh, kw, sh, sw, ph, pw, bool(count)))
