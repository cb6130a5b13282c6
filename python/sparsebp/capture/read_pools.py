"""Pooling, and images in other sides."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .._C import OpKind
from .behaviour import runs_as
from .layer import Value
from .places import Place, value_of
from .raw_op import Details
from .reader import Reader
from .shapes import shape_of

_MOST_TAPS = 256  # of a native max-pooling
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d)
_MAXIMA = (nn.MaxPool1d, nn.MaxPool2d)
_ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_ADAPTIVE_MAXIMA = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_UPSAMPLINGS = (nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d)
_AVERAGE_CALLS = (functional.avg_pool2d, functional.avg_pool1d)
_MAX_CALLS = (functional.max_pool2d, functional.max_pool1d, torch.max_pool2d, torch.max_pool1d)
_ADAPTIVE_CALLS = (functional.adaptive_avg_pool2d, functional.adaptive_avg_pool1d, torch.adaptive_avg_pool1d)
_ADAPTIVE_MAX_CALLS = (functional.adaptive_max_pool2d, functional.adaptive_max_pool1d)


def read_pool(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool:
    """Reads a pooling or a resizing; False if ``node`` is none that native code computes."""
    tensors = reader.tensors(node)
    if not tensors or not reader.is_native(tensors[0]) or not reader.is_tensor(node):
        return False
    source = tensors[0]
    if module is not None:
        return _read_module(reader, node, module, source)
    name = getattr(node.target, "__name__", node.target)  # what takes an optional index too goes by its name only
    if node.target in _AVERAGE_CALLS:
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
        given = [reader.argument(node, i + 1, n, d) for i, (n, d) in enumerate(zip(names, _DEFAULTS, strict=True))]
        return _average(reader, node, source, *given[:3], *given[4:])
    if node.target in _MAX_CALLS or name in ("boolean_dispatch", "_max_pool2d", "_max_pool1d", "max_pool2d"):
        return _read_max_call(reader, node, source)
    if node.target in _ADAPTIVE_CALLS:
        return _adaptive(reader, node, source)
    if node.target in _ADAPTIVE_MAX_CALLS:
        return _adaptive_max(reader, node, source)
    if node.target in (torch.mean, "mean"):
        return _mean(reader, node, source)
    if node.target in (functional.interpolate, functional.upsample):
        names = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
        given = [reader.argument(node, i + 1, n) for i, n in enumerate(names)]
        factor = None if given[4] else given[1]
        return not given[5] and _resize(reader, node, source, given[2] or "nearest", given[3], factor)
    return False


_DEFAULTS = (None, None, 0, False, True, None)


def _read_module(reader: Reader, node: fx.Node, m: nn.Module, source: fx.Node) -> bool:
    if isinstance(m, _AVERAGES) and any(runs_as(m, kind) for kind in _AVERAGES):
        divisor = getattr(m, "divisor_override", None)
        return _average(reader, node, source, m.kernel_size, m.stride, m.padding, m.count_include_pad, divisor)
    if isinstance(m, _MAXIMA) and any(runs_as(m, kind) for kind in _MAXIMA) and not m.return_indices:
        return _max(reader, node, source, m.kernel_size, m.stride, m.padding, m.dilation)
    if any(runs_as(m, kind) for kind in _ADAPTIVE):
        return _adaptive(reader, node, source)
    if isinstance(m, _ADAPTIVE_MAXIMA) and any(runs_as(m, kind) for kind in _ADAPTIVE_MAXIMA):
        return not m.return_indices and _adaptive_max(reader, node, source)
    if isinstance(m, _UPSAMPLINGS) and any(runs_as(m, kind) for kind in _UPSAMPLINGS):
        factor = None if m.recompute_scale_factor else m.scale_factor
        return _resize(reader, node, source, m.mode, m.align_corners, factor)
    return False


def _image(reader: Reader, node: fx.Node, source: fx.Node) -> tuple[fx.Node, Value, Value] | None:
    """What is read, its size and that of the result."""
    x, value = reader.image(source), value_of(shape_of(node))
    if x is None or value is None or len(shape_of(source)) < 3:
        return None
    return x, reader.values[x], value


def _pair(value: Any, dimensions: int, default: int) -> tuple[Any, Any]:
    sides = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    sides = sides * dimensions if len(sides) == 1 else sides
    return (sides[0], sides[1]) if dimensions == 2 else (default, sides[0])


def _window(dimensions: int, kernel: Any, stride: Any, padding: Any) -> tuple[int, int, int, int, int, int] | None:
    stride = kernel if stride in (None, [], ()) else stride
    window = (*_pair(kernel, dimensions, 1), *_pair(stride, dimensions, 1), *_pair(padding, dimensions, 0))
    return window if all(isinstance(v, int) for v in window) else None


def _average(
    reader: Reader,
    node: fx.Node,
    source: fx.Node,
    kernel: Any,
    stride: Any,
    padding: Any,
    count: Any,
    divisor: Any,
) -> bool:
    window = _window(len(shape_of(source)) - 2, kernel, stride, padding)
    found = _image(reader, node, source)
    if divisor is not None or found is None or window is None:
        return False
    x, _, after = found
    reader.emit(OpKind.pool, (x,), node, after, pool=(*window, bool(count)))
    return True


def _read_max_call(reader: Reader, node: fx.Node, source: fx.Node) -> bool:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    kernel, stride, padding, dilation, _, indices = (
        reader.argument(node, i + 1, n, d) for i, (n, d) in enumerate(zip(names, (None, None, 0, 1, 0, 0), strict=True))
    )
    return not indices and _max(reader, node, source, kernel, stride, padding, dilation)


def _max(reader: Reader, node: fx.Node, source: fx.Node, kernel: Any, stride: Any, padding: Any, dilation: Any) -> bool:
    dimensions = len(shape_of(source)) - 2
    window = _window(dimensions, kernel, stride, padding)
    found = _image(reader, node, source)
    if window is None or window[0] * window[1] > _MOST_TAPS or found is None:
        return False
    x, before, after = found
    steps = _pair(dilation, dimensions, 1)
    if not all(isinstance(step, int) for step in steps) or steps[0] > before.height or steps[1] > before.width:
        return False  # a window might have nothing inside
    reader.emit(OpKind.max_pool, (x,), node, after, pool=(*window, False), details=Details(dilation=steps))
    return True


def _adaptive(reader: Reader, node: fx.Node, source: fx.Node) -> bool:
    found = _image(reader, node, source)
    if found is None:
        return False
    x, before, after = found
    if (before.height, before.width) == (after.height, after.width):
        reader.places.follow(node, Place(reader.places[source].base, reader.places.index(source)))
        return True
    if before.height % after.height or before.width % after.width:
        reader.emit(OpKind.adaptive_pool, (x,), node, after)
        return True
    sides = before.height // after.height, before.width // after.width
    reader.emit(OpKind.pool, (x,), node, after, pool=(*sides, *sides, 0, 0, True))
    return True


def _adaptive_max(reader: Reader, node: fx.Node, source: fx.Node) -> bool:
    found = _image(reader, node, source)
    if found is None:
        return False
    x, before, after = found
    sides = before.height // after.height, before.width // after.width
    if before.height % after.height or before.width % after.width or math.prod(sides) > _MOST_TAPS:
        return False
    reader.emit(OpKind.max_pool, (x,), node, after, pool=(*sides, *sides, 0, 0, False))
    return True


def _mean(reader: Reader, node: fx.Node, source: fx.Node) -> bool:
    """Over one side or both."""
    dims, shape = reader.argument(node, 1, "dim"), shape_of(source)
    dims = (dims,) if isinstance(dims, int) else dims
    if not isinstance(dims, (list, tuple)) or not all(isinstance(d, int) for d in dims):
        return False
    over = sorted(d % len(shape) for d in dims)
    x = None if over == [1] else reader.image(source)
    if x is None or not over or over[0] < 2 or len(shape) < 3:
        x = _pixels_mean(reader, source, over, shape)
        if x is None:
            return False
        over = [2, 3]
        sides = [1, 1]
    else:
        sides = [1 if i + 2 in over else side for i, side in enumerate(shape[2:])]
    before = reader.values[x]
    if len(sides) == 1:
        sides = [1, *sides]
    after = Value(sides[0], sides[1], before.channels)
    window = before.height // after.height, before.width // after.width
    reader.emit(OpKind.pool, (x,), node, after, pool=(*window, *window, 0, 0, True))
    return True


def _pixels_mean(reader: Reader, source: fx.Node, over: list[int], shape: tuple[int, ...]) -> fx.Node | None:
    """What is averaged over all dimensions between the first and the last, which has the channels."""
    return reader.pixels(source) if len(shape) > 2 and over == list(range(1, len(shape) - 1)) else None


def _resize(reader: Reader, node: fx.Node, source: fx.Node, mode: str, corners: Any, scale: Any) -> bool:
    found = _image(reader, node, source)
    names = {"nearest": "nearest", "bilinear": "linear", "linear": "linear"}
    if found is None or mode not in names:
        return False
    x, before, after = found
    how = "linear_corners" if corners and mode != "nearest" else names[mode]
    scales = (0.0, 0.0)
    if how != "linear_corners" and scale is not None:
        down, across = _pair(scale, len(shape_of(source)) - 2, 1)
        scales = _given(down, before.height, after.height, how), _given(across, before.width, after.width, how)
    reader.emit(OpKind.resize, (x,), node, after, details=Details(resampling=how, scales=scales))
    return True


def _given(scale: float, before: int, after: int, how: str) -> float:
    """The factor that torch takes for the ratio of two sides even where it is not; 0 where it goes by the sides."""
    copies = after in ((before, 2 * before) if how == "nearest" else (before,))
    return 0.0 if before * scale == after or copies else float(scale)
