"""Reading traced nodes as ops: what each module, function and method means natively."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .errors import UnsupportedModel

Pool = tuple[int, int, int, int, int, int, bool]


@dataclass(frozen=True)
class RawOp:
    """One op before fusion. ``inputs`` and ``output`` are fx nodes."""

    kind: str  # conv, depthwise, norm, activation, add, pool, dropout, torch
    inputs: tuple[fx.Node, ...]
    output: fx.Node
    module: str = ""
    layer_kind: str = ""
    norm: str | None = None
    activation: str = "identity"
    pool: Pool | None = None
    drop: float = 0.0
    what: str = ""


def read_ops(traced: fx.GraphModule, evaluated: fx.GraphModule) -> tuple[list[RawOp], fx.Node, fx.Node]:
    """All ops of a model traced in training mode, its input node and the node it returns.

    ``evaluated`` has the same nodes as traced in evaluation mode.

    Raises:
        UnsupportedModel: more than one input or output.
    """
    modules = dict(traced.named_modules())
    ops: list[RawOp] = []
    alias: dict[fx.Node, fx.Node] = {}
    source: fx.Node | None = None
    always_drops = {node.name for node in evaluated.graph.nodes if _drops(node)}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            if source is not None:
                if node.args:  # an optional argument that keeps its default
                    continue
                raise UnsupportedModel("the model takes more than one input; expected one batch of images")
            source = node
        elif node.op == "output":
            result = node.args[0]
            if not isinstance(result, fx.Node) or len(_shape(result)) not in (2, 4):
                raise UnsupportedModel("the model must return one tensor [N, classes] or [N, C, H, W]")
            if source is None:
                raise UnsupportedModel("the model takes no input; expected one batch of images")
            return ops, source, alias.get(result, result)
        else:
            op = _read(node, modules, alias)
            if op is not None and op.kind == "dropout" and node.name in always_drops:
                op = replace(op, kind="torch", what=f"{node.name} (a dropout that evaluation mode does not end)")
            if op is not None:
                ops.append(op)
    raise UnsupportedModel("the model returns nothing")


def _shape(node: Any) -> tuple[int, ...]:
    meta: Any = node.meta.get("tensor_meta") if isinstance(node, fx.Node) else None
    return tuple(meta.shape) if hasattr(meta, "shape") else ()


def _read(node: fx.Node, modules: dict[str, nn.Module], alias: dict[fx.Node, fx.Node]) -> RawOp | None:
    if "tensor_meta" not in node.meta:
        return None  # a size or another number; a tensor shows up where it is used
    tensors = tuple(alias.get(n, n) for n in node.all_input_nodes if "tensor_meta" in n.meta)
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    hooked = " with hooks" if module is not None and has_hooks(module) else ""
    what = f"{node.target} ({type(module).__name__}{hooked})" if module is not None else f"{node.name}"
    fallback = RawOp("torch", tensors, node, what=what)
    if not tensors or len(_shape(tensors[0])) not in (2, 4) or len(_shape(node)) not in (2, 4):
        return fallback
    known = _read_module(node, tensors, module, what) if module is not None else _read_call(node, tensors)
    if known == "alias":
        alias[node] = tensors[0]
        return None
    return known if isinstance(known, RawOp) else fallback


def _read_module(node: fx.Node, tensors: tuple[fx.Node, ...], m: nn.Module, what: str) -> RawOp | str | None:
    name = str(node.target)
    if len(tensors) != 1 or has_hooks(m):
        return None
    if isinstance(m, nn.Conv2d) and type(m).forward is nn.Conv2d.forward and m.padding_mode == "zeros":
        if hasattr(m, "parametrizations"):
            return None
        kind = conv_kind(m)
        return RawOp("depthwise" if kind == "depthwise" else "conv", tensors, node, name, kind, what=what)
    # Of the input itself: what it is an alias of may still be [N, C, 1, 1].
    matrix = len(_shape(node.all_input_nodes[0])) == 2
    if isinstance(m, nn.Linear) and type(m).forward is nn.Linear.forward and matrix:
        return None if hasattr(m, "parametrizations") else RawOp("conv", tensors, node, name, "linear", what=what)
    if type(m) is nn.BatchNorm2d and m.running_var is not None:
        return RawOp("norm", tensors, node, name, what=what)
    if type(m) is nn.ReLU:
        return RawOp("activation", tensors, node, activation="relu")
    if type(m) is nn.ReLU6 or (type(m) is nn.Hardtanh and (m.min_val, m.max_val) == (0, 6)):
        return RawOp("activation", tensors, node, activation="relu6")
    if type(m) is nn.Identity:
        return "alias"
    if type(m) is nn.Dropout:
        return RawOp("dropout", tensors, node, drop=float(m.p))
    if type(m) is nn.Flatten:
        return _flatten(node, tensors[0]) if (m.start_dim, m.end_dim) in ((1, -1), (1, 3)) else None
    if type(m) is nn.AdaptiveAvgPool2d:
        return _global_pool(node, tensors[0])
    if type(m) is nn.AvgPool2d:
        return _average_pool(
            node,
            tensors[0],
            m.kernel_size,
            m.stride,
            m.padding,
            m.ceil_mode,
            m.count_include_pad,
            m.divisor_override,
        )
    return None


_DROPOUTS: dict[Any, str] = {functional.dropout: "training", torch.dropout: "train"}
"""And what their third argument is called."""


def _drops(node: fx.Node) -> bool:
    """Whether this is the call of a dropout that is on."""
    name = _DROPOUTS.get(node.target) if node.op == "call_function" else None
    return name is not None and bool(_argument(node, 2, name, True))


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _read_call(node: fx.Node, tensors: tuple[fx.Node, ...]) -> RawOp | str | None:
    target, kwargs = node.target, node.kwargs

    def argument(position: int, name: str, default: Any) -> Any:
        return _argument(node, position, name, default)

    if target in (operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__iadd__"):
        same = len(tensors) == 2 and _shape(tensors[0]) == _shape(tensors[1]) == _shape(node)
        return RawOp("add", tensors, node) if same and kwargs.get("alpha", 1) == 1 else None
    if len(tensors) != 1:
        return None
    x = tensors[0]
    if target in (functional.relu, torch.relu, "relu", "relu_", functional.relu_):
        return RawOp("activation", tensors, node, activation="relu")
    if target is functional.relu6:
        return RawOp("activation", tensors, node, activation="relu6")
    if target is functional.hardtanh and (
        argument(1, "min_val", -1),
        argument(2, "max_val", 1),
    ) == (0, 6):
        return RawOp("activation", tensors, node, activation="relu6")
    if target in _DROPOUTS:
        return RawOp("dropout", tensors, node, drop=float(argument(1, "p", 0.5))) if _drops(node) else "alias"
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
    if target in (torch.mean, "mean") and len(_shape(x)) == 4:
        dims = argument(1, "dim", None)
        if isinstance(dims, (list, tuple)) and sorted(d % 4 for d in dims) == [2, 3]:
            return _global_pool(node, x)
    if target in ("contiguous", "clone"):
        return "alias"
    return None


def has_hooks(m: nn.Module) -> bool:
    """Whether torch would call more than ``forward``; native code would not."""
    return bool(m._forward_pre_hooks or m._forward_hooks or m._backward_pre_hooks or m._backward_hooks)


def conv_kind(m: nn.Conv2d) -> str:
    """``"depthwise"``, ``"pointwise"`` or ``"conv"``."""
    if m.groups > 1 and m.groups == m.in_channels == m.out_channels:
        return "depthwise"
    plain = (
        m.kernel_size == (1, 1) and m.stride == (1, 1) and m.groups == 1 and m.padding in ((0, 0), 0, "valid", "same")
    )
    return "pointwise" if plain else "conv"


def _flatten(node: fx.Node, x: fx.Node) -> str | None:
    """[N, C, 1, 1] -> [N, C] moves no number; flattening a larger image would mix channels and pixels."""
    before, after = _shape(x), _shape(node)
    if before == after:
        return "alias"
    return "alias" if len(before) == 4 and before[2:] == (1, 1) and after == before[:2] else None


def _global_pool(node: fx.Node, x: fx.Node) -> RawOp | None:
    shape, out = _shape(x), _shape(node)
    if len(shape) != 4 or out not in ((*shape[:2], 1, 1), shape[:2]):
        return None
    height, width = shape[2:]
    return RawOp("pool", (x,), node, pool=(height, width, height, width, 0, 0, True))


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
    if ceil or divisor is not None or len(_shape(x)) != 4:
        return None

    def pair(value: Any) -> tuple[int, int]:
        return tuple(value) if isinstance(value, (list, tuple)) else (value, value)

    kh, kw = pair(kernel)
    sh, sw = pair(stride) if stride not in (None, [], ()) else (kh, kw)
    ph, pw = pair(padding)
    return RawOp("pool", (x,), node, pool=(kh, kw, sh, sw, ph, pw, bool(count)))
