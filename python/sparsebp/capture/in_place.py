"""Ops of a traced model that change a tensor in place, made harmless or marked."""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx, nn

#: Called by name; of an augmented assignment torch.fx records the plain operator.
_OPERATORS = {f"__i{op}__" for op in ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod")}
#: What may return a view of its first argument, by the names of functions, methods and modules.
_VIEWS = {
    *("view", "view_as", "reshape", "reshape_as", "flatten", "Flatten", "unflatten", "Unflatten", "squeeze"),
    *("transpose", "permute", "movedim", "swapaxes", "t", "getitem", "select", "narrow", "chunk", "split", "unbind"),
    *("tensor_split", "split_with_sizes", "expand", "expand_as", "detach", "contiguous", "to", "diagonal", "unfold"),
    *("data", "T", "mT", "H", "alias", "as_strided", "float", "double", "type", "unsqueeze"),
    *("ChannelShuffle", "Dropout", "Identity", "dropout"),
}


def untangle(traced: fx.GraphModule) -> None:
    """Whoever reads a tensor that an in-place op has changed reads that op's result, which is the same tensor.

    Then no op of the graph needs to be run in place, and none whose result is used is dead code. Where a view of the
    tensor is read later this does not do: such an op gets ``meta["writes_views"]``, and has to run as it is.
    """
    modules = dict(traced.named_modules())
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    origin: dict[fx.Node, fx.Node] = {}  # nodes that are one tensor have one origin
    memory: dict[fx.Node, fx.Node] = {}  # nodes that share memory, as views do
    for node in order:
        first = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else node.kwargs.get("input")
        if not isinstance(first, fx.Node):
            continue
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        writes = is_in_place(node, module)
        if writes or isinstance(module, nn.Identity):
            origin[node] = origin.get(first, first)
        if writes or _name(node, module) in _VIEWS:
            memory[node] = memory.get(first, first)
        if not writes:
            continue
        for other in order:
            if order[other] >= order[node] or memory.get(other, other) is not memory[node]:
                continue
            later = [r for r in other.users if order[r] > order[node]]
            if origin.get(other, other) is origin[node]:
                for reader in later:
                    reader.replace_input_with(other, node)
            elif later:
                node.meta["writes_views"] = True


def is_dead(node: fx.Node) -> bool:
    """Whether a node without readers may be left out."""
    return not node.users and not node.is_impure() and "writes_views" not in node.meta


def is_in_place(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a node changes its first argument."""
    if module is not None:
        return bool(getattr(module, "inplace", False))
    if node.op not in ("call_function", "call_method"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if name.startswith("__"):
        return name in _OPERATORS
    if node.op == "call_function" and getattr(node.target, "__module__", "") == "_operator":
        return f"__{name}__" in _OPERATORS
    return name.endswith("_") or bool(_argument(node, "inplace"))


def _name(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return type(module).__name__
    if node.target is getattr:
        return str(node.args[1])
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _argument(node: fx.Node, name: str) -> Any:
    """An argument of a function by its name, however it was passed."""
    if name in node.kwargs or not callable(node.target):
        return node.kwargs.get(name)
    try:
        return inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments.get(name)
    except (TypeError, ValueError):  # a builtin without a signature
        return None
