"""What every node of a traced model computes: the shapes of its tensors, and plain values such as sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format, slice)


class _Recorder(fx.Interpreter):
    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        if isinstance(result, torch.Tensor):
            node.meta["shape"], node.meta["dtype"] = tuple(result.shape), result.dtype
        elif _is_plain(result):
            node.meta["value"] = result
        return result


def record(traced: fx.GraphModule, x: torch.Tensor) -> Any:
    """Runs a traced model on ``x``; what it returns.

    A node gets ``meta["shape"]`` and ``meta["dtype"]`` if it is one tensor, ``meta["value"]`` if it is a plain value or
    a tuple of such, and nothing if it is something else, a tuple of tensors for example.
    """
    return _Recorder(traced).run(x)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def is_value(node: fx.Node) -> bool:
    """Whether a node is a plain value rather than something computed from the images."""
    return "value" in node.meta


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of a node that is one tensor; otherwise ()."""
    return node.meta.get("shape", ()) if isinstance(node, fx.Node) else ()


def resolve(argument: Any) -> Any:
    """An argument of a node with plain values in place of the nodes that compute them, as far as there are any."""
    return fx.node.map_arg(argument, lambda node: node.meta["value"] if is_value(node) else node)
