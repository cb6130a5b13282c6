"""Sums, products and concatenations of activations, and with numbers and parameters; dropout; zeros around an image."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .._C import OpKind
from .behaviour import runs_as
from .layer import Value
from .places import value_of
from .raw_op import Details
from .read_norms import read_scale
from .reader import Reader
from .shapes import is_value, resolve, shape_of

_ADD = (operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__iadd__", "__radd__")
_SUBTRACT = (operator.sub, operator.isub, torch.sub, "sub", "sub_", "__sub__", "__isub__")
_MULTIPLY = (operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply", "__mul__", "__imul__")
_DIVIDE = (operator.truediv, operator.itruediv, torch.div, "div", "div_", "__truediv__", "__itruediv__")
_CONCAT = (torch.cat, torch.concat, torch.concatenate)


def read_arithmetic(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool:
    """Reads a sum, a product or a concatenation; False if ``node`` is none that native code computes."""
    if module is not None or not reader.is_tensor(node):
        return False
    if node.target in _CONCAT:
        return _concat(reader, node)
    if node.target in (operator.neg, torch.neg, "neg"):
        return read_affine(reader, node, node.args[0], -1.0, 0.0)
    sums, products = node.target in (*_ADD, *_SUBTRACT), node.target in (*_MULTIPLY, *_DIVIDE)
    if not (sums or products) or len(node.args) + ("other" in node.kwargs) < 2 or "out" in node.kwargs:
        return False
    first, second = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs["other"]
    sign = -1.0 if node.target in _SUBTRACT else 1.0
    factor = resolve(node.kwargs.get("alpha", 1))
    if not isinstance(factor, (int, float)) or node.kwargs.get("rounding_mode") is not None:
        return False
    sign *= factor
    numbers = [_number(argument) for argument in (first, second)]
    if numbers[1] is not None:
        return _with_number(reader, node, first, numbers[1], sign)
    if numbers[0] is not None:
        if sums:
            return read_affine(reader, node, second, sign, numbers[0])
        return node.target in _MULTIPLY and read_affine(reader, node, second, numbers[0], 0.0)
    if node.target in _DIVIDE:
        return False
    assert isinstance(first, fx.Node)
    assert isinstance(second, fx.Node)
    for own, other in ((first, second), (second, first)):
        if reader.is_native(own) and other in reader.places and reader.places.is_parameter(other):
            return (products or sign == 1.0) and read_scale(reader, node, own, other, products)
    return read_pair(reader, node, first, second, OpKind.add if sums else OpKind.multiply, sign)


def _number(argument: Any) -> float | None:
    plain = resolve(argument) if isinstance(argument, fx.Node) and is_value(argument) else argument
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        return None
    return float(plain)


def _with_number(reader: Reader, node: fx.Node, source: Any, number: float, sign: float) -> bool:
    if node.target in (*_ADD, *_SUBTRACT):
        return read_affine(reader, node, source, 1.0, sign * number)
    if node.target in _DIVIDE and number == 0:
        return False
    return read_affine(reader, node, source, 1 / number if node.target in _DIVIDE else number, 0.0)


def read_affine(reader: Reader, node: fx.Node, source: Any, alpha: float, beta: float) -> bool:
    """Reads ``alpha`` times an activation plus ``beta``."""
    x = reader.numbers(source)
    if x is None:
        return False
    if (alpha, beta) == (1.0, 0.0):  # as in sum(list), which begins with 0
        reader.places.follow(node, reader.places[source])
        return True
    reader.emit_alike(OpKind.affine, (x,), node, source, details=Details(alpha=alpha, beta=beta))
    return True


def read_pair(reader: Reader, node: fx.Node, first: fx.Node, second: fx.Node, kind: OpKind, sign: float) -> bool:
    """Reads two activations of one size, or of which one is spread over the other."""
    if not (reader.is_native(first) and reader.is_native(second)):
        return False
    details = Details(alpha=sign)
    places = reader.places
    if shape_of(first) == shape_of(second):
        a, b = reader.numbers(first), reader.numbers(second)
        if a is None or b is None:
            return False
        whole = places[first].base is a and places[second].base is b  # none of them had to be made
        if whole and reader.values[a] == reader.values[b] and torch.equal(places.index(first), places.index(second)):
            reader.emit_alike(kind, (a, b), node, first, details=details)
            return True
    a, b = _spread(reader, first, node), _spread(reader, second, node)
    if a is None or b is None:
        return False
    values = reader.values[a], reader.values[b]
    if not _over(*values):
        if not _over(values[1], values[0]) or (kind == OpKind.add and sign != 1.0):
            return False
        a, b = b, a
    value = value_of(shape_of(node))
    if value != reader.values[a]:
        return False
    reader.emit(kind, (a, b), node, value, details=details)
    return True


def _over(large: Value, small: Value) -> bool:
    pairs = ((large.height, small.height), (large.width, small.width), (large.channels, small.channels))
    return all(b in (a, 1) for a, b in pairs)


def _spread(reader: Reader, node: fx.Node, result: fx.Node) -> fx.Node | None:
    """An activation as an image beside ``result``; what was expanded, as it was before."""
    if len(shape_of(node)) != len(shape_of(result)):
        return None
    index = reader.places.of_one_image(node)
    if index is not None and index.dim() == 3:
        base = reader.places[node].base
        value = reader.values[base]
        whole = torch.arange(value.count).view(value.channels, value.height, value.width)
        if value.count < index.numel() and _expands(whole, index):
            return base
    return reader.image(node)


def _expands(whole: torch.Tensor, index: torch.Tensor) -> bool:
    if not all(a in (1, b) for a, b in zip(whole.shape, index.shape, strict=True)):
        return False
    return torch.equal(whole.expand(index.shape), index)


def _concat(reader: Reader, node: fx.Node) -> bool:
    given = node.args[0] if node.args else node.kwargs["tensors"]
    parts = reader.parts(given) if isinstance(given, fx.Node) else given
    dim, dims = reader.argument(node, 1, "dim", 0), len(shape_of(node))
    if not isinstance(parts, (list, tuple)) or not parts or not isinstance(dim, int):
        return False
    if dim % dims == 1:
        images = [reader.image(part) for part in parts]
        value = value_of(shape_of(node))
        if value is not None and all(image is not None for image in images):
            reader.emit(OpKind.concat, tuple(image for image in images if image is not None), node, value)
            return True
    pixels = [reader.pixels(part) for part in parts] if dim % dims == dims - 1 else []
    bases = [base for base in pixels if base is not None]
    if not bases or len(bases) < len(parts):
        return False
    sides = {(reader.values[base].height, reader.values[base].width) for base in bases}
    if len(sides) > 1:
        return False
    channels = sum(reader.values[base].channels for base in bases)
    reader.emit_pixels(OpKind.concat, tuple(bases), node, channels)
    return True


def read_zeros(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool:
    """Reads zeros around an image, which a convolution behind them can add by itself."""
    if isinstance(module, (nn.ZeroPad2d, nn.ConstantPad2d)) and any(
        runs_as(module, kind) for kind in (nn.ZeroPad2d, nn.ConstantPad2d)
    ):
        sides: Any = module.padding
        number, mode = module.value, "constant"
    elif node.target in (functional.pad, torch.nn.functional.pad):
        sides, mode = reader.argument(node, 1, "pad"), reader.argument(node, 2, "mode", "constant")
        number = reader.argument(node, 3, "value", 0)
    else:
        return False
    source = reader.tensors(node)[0]
    dims = len(shape_of(source)) - 2
    whole = isinstance(sides, (tuple, list)) and all(isinstance(side, int) and side >= 0 for side in sides)
    if mode != "constant" or number not in (0, None) or not whole or dims not in (1, 2):
        return False
    sides = (*sides, *(0,) * (2 * dims - len(sides)))
    x, value = reader.image(source), value_of(shape_of(node))
    if len(sides) != 2 * dims or x is None or value is None:
        return False
    top = sides[2] if dims == 2 else 0
    reader.emit(OpKind.zeros, (x,), node, value, details=Details(zeros=(top, sides[0])))
    return True


_DROPOUTS: dict[Any, tuple[str, str]] = {
    functional.dropout: ("training", "element"),
    torch.dropout: ("train", "element"),
    functional.dropout2d: ("training", "channel"),
    functional.dropout1d: ("training", "channel"),
}
"""What their third argument is called, and what they drop at once."""


def read_dropout(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool | None:
    """Reads a dropout; None if evaluation mode does not end it."""
    if module is not None:
        return _dropout_module(reader, node, module)
    name = getattr(node.target, "__name__", "")
    if node.target in _DROPOUTS:
        mode, unit = _DROPOUTS[node.target]
        position, default = 2, 0.5
    elif name == "stochastic_depth":
        if reader.argument(node, 2, "mode") != "row":
            return False
        mode, unit, position, default = "training", "image", 3, 0.0
    else:
        return False
    training = reader.training_node(node)
    evaluated, trained = (bool(reader.argument(n, position, mode, True)) for n in (node, training))
    p, other = (reader.argument(n, 1, "p", default) for n in (training, node))
    if evaluated or not isinstance(p, (int, float)) or p != other:
        return None
    return _drop(reader, node, float(p) if trained else 0.0, unit, "")


def _dropout_module(reader: Reader, node: fx.Node, m: nn.Module) -> bool:
    for kind, unit in ((nn.Dropout, "element"), (nn.Dropout2d, "channel"), (nn.Dropout1d, "channel")):
        if isinstance(m, kind) and runs_as(m, kind):
            return _drop(reader, node, float(m.p), unit, str(node.target))
    # Whole images, as timm drops a block's branch.
    if type(m).__name__ == "DropPath" and hasattr(m, "drop_prob") and getattr(m, "scale_by_keep", True):
        p: Any = m.drop_prob
        return _drop(reader, node, float(p or 0.0), "image", str(node.target))
    return False


def _drop(reader: Reader, node: fx.Node, p: float, unit: str, module: str) -> bool:
    source = reader.tensors(node)[0]
    x = reader.numbers(source)
    if x is None:
        return False
    if p == 0 and (unit == "image" or not module):  # a Dropout keeps its place in a plan, whatever its p
        reader.places.follow(node, reader.places[source])
        return True
    if unit == "channel" and reader.image(source) is not x:
        return False
    reader.emit_alike(OpKind.dropout, (x,), node, source, drop=p, details=Details(drop_unit=unit), module=module)
    return True
