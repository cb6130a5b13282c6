"""Sums and means over a stack of activations, and what is made of the channels of each pixel."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from .._C import OpKind
from .layer import Value
from .raw_op import Details
from .read_arithmetic import read_affine, read_pair
from .reader import Reader
from .shapes import shape_of

_SUMS, _MEANS = (torch.sum, "sum"), (torch.mean, "mean")
_MAXIMA, _SHARED_MAXIMA = (torch.max, "max"), (torch.amax, "amax")


def read_across(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool:
    """Reads these; False if ``node`` is none that native code computes.

    A stack, and a maximum with its places, are tensors that native code does not have: they are read where all that
    becomes of them is read, by the op that does so.
    """
    if module is not None:
        return False
    if node.target is torch.stack:
        return bool(node.users) and all(_stacked(reader, user) for user in node.users)
    if node.target in _MAXIMA:
        return bool(node.users) and all(_is_largest(reader, user, node) for user in node.users)
    source = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(source, fx.Node):
        return False
    if source.target is torch.stack:
        return _read_stack(reader, node)
    if source.target in _MAXIMA and _is_largest(reader, node, source):
        return _read_channels(reader, node, source, "first_largest")
    if node.target in _SHARED_MAXIMA:
        return _read_channels(reader, node, node, "all_largest")
    return node.target in _MEANS and _read_channels(reader, node, node, "mean")


def _dim(reader: Reader, node: fx.Node, dims: int) -> int | None:
    """The one dimension that a node goes over; None if it is none or several."""
    dim: Any = reader.argument(node, 1, "dim")
    if isinstance(dim, (list, tuple)) and len(dim) == 1:
        (dim,) = dim
    return dim % dims if isinstance(dim, int) and not isinstance(dim, bool) else None


# -- stacks ----------------------------------------------------------------------------------------


def _stacked(reader: Reader, node: fx.Node) -> list[fx.Node]:
    """The activations that a node adds up, of a stack; none if it is something else."""
    stack = node.args[0] if node.args else node.kwargs.get("input")
    if node.target not in (*_SUMS, *_MEANS) or not isinstance(stack, fx.Node) or stack.target is not torch.stack:
        return []
    parts = stack.args[0] if stack.args else stack.kwargs["tensors"]
    dims, dim = len(shape_of(stack)), reader.argument(stack, 1, "dim", 0)
    plain = not reader.argument(node, 2, "keepdim", False) and reader.argument(node, 3, "dtype") is None
    if not plain or not isinstance(parts, (list, tuple)) or _dim(reader, node, dims) != dim % dims:
        return []
    nodes = [part for part in parts if isinstance(part, fx.Node) and reader.is_image(part)]
    return nodes if len(nodes) == len(parts) else []


def _read_stack(reader: Reader, node: fx.Node) -> bool:
    parts = _stacked(reader, node)
    if not parts:
        return False
    first, *others = parts
    for i, other in enumerate(others):
        last = i == len(others) - 1 and node.target in _SUMS
        made = node if last else reader.another(node)
        if not read_pair(reader, made, first, other, OpKind.add, 1.0):
            return False
        first = made
    factor = 1.0 if node.target in _SUMS else 1 / (len(others) + 1)
    return first is node or read_affine(reader, node, first, factor, 0.0)


# -- channels --------------------------------------------------------------------------------------


def _is_largest(reader: Reader, node: fx.Node, source: fx.Node) -> bool:
    """Whether a node takes the numbers of a maximum over the channels, and not their places."""
    taken = node.args[1] if len(node.args) > 1 else None
    numbers = (node.target is operator.getitem and taken == 0) or (node.target is getattr and taken == "values")
    return numbers and _channels(reader, source) is not None


def _channels(reader: Reader, over: fx.Node) -> fx.Node | None:
    """The image whose channels a node goes over, as it was traced; None if it goes over something else."""
    source = over.args[0] if over.args else over.kwargs.get("input")
    if not isinstance(source, fx.Node) or not reader.is_image(source) or "dtype" in over.kwargs:
        return None
    dims = len(shape_of(source))
    return source if dims in (3, 4) and _dim(reader, over, dims) == 1 else None


def _read_channels(reader: Reader, node: fx.Node, over: fx.Node, reduction: str) -> bool:
    source = _channels(reader, over)
    x = reader.image(source) if source is not None else None
    if x is None:
        return False
    value = reader.values[x]
    result = Value(value.height, value.width, 1)
    reader.emit(OpKind.channel_pool, (x,), node, result, details=Details(reduction=reduction))
    return True
