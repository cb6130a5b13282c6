"""Convolutions of one and two dimensions, transposed ones, and linear layers, as modules and as functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .._C import OpKind
from .behaviour import runs_as
from .layer import POINT, LayerTensors, Window
from .places import value_of
from .raw_op import Weighted
from .reader import Reader
from .shapes import shape_of

_CONVOLUTIONS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.ConvTranspose1d: 1, nn.ConvTranspose2d: 2}
_FUNCTIONS: dict[Any, int] = {functional.conv1d: 1, torch.conv1d: 1, functional.conv2d: 2, torch.conv2d: 2}
_LINEAR = (functional.linear, torch._C._nn.linear)


def read_layer(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool:
    """Reads a convolution or a linear layer; False if ``node`` is none that native code computes."""
    if module is not None:
        return _read_module(reader, node, module)
    if node.target in _FUNCTIONS or node.target in _LINEAR:
        weight, bias = reader.argument(node, 1, "weight"), reader.argument(node, 2, "bias")
        tensors = LayerTensors(_parameter(reader, weight), None if bias is None else _parameter(reader, bias))
        if tensors.weight is None or (bias is not None and tensors.bias is None):
            return False
        name, shape = tensors.weight.removesuffix(".weight"), shape_of(weight)
        if node.target in _LINEAR:
            return _linear(reader, node, name, tensors, shape)
        stride, padding = reader.argument(node, 3, "stride", 1), reader.argument(node, 4, "padding", 0)
        dilation, groups = reader.argument(node, 5, "dilation", 1), reader.argument(node, 6, "groups", 1)
        window = convolution_window(shape[2:], stride, padding, dilation, groups)
        return window is not None and _convolution(reader, node, name, tensors, window, _FUNCTIONS[node.target])
    return False


def _parameter(reader: Reader, node: Any) -> str | None:
    name = reader.parameter(node)
    return name if name in reader.parameters else None


def _read_module(reader: Reader, node: fx.Node, module: nn.Module) -> bool:
    name = str(node.target)
    if len(node.all_input_nodes) != 1:
        return False
    if runs_as(module, nn.Linear):
        assert isinstance(module.weight, nn.Parameter)
        return _linear(reader, node, name, module_tensors(module, name), tuple(module.weight.shape))
    dimensions = next((d for kind, d in _CONVOLUTIONS.items() if runs_as(module, kind)), 0)
    if not isinstance(module, nn.modules.conv._ConvNd) or not dimensions or module.padding_mode != "zeros":
        return False
    window = module_window(module)
    if window is None:
        return False
    if module.transposed and (window.groups not in (1, module.in_channels) or len(node.args) > 1):
        return False
    return _convolution(reader, node, name, module_tensors(module, name), window, dimensions, module.transposed)


def module_tensors(module: nn.Module, name: str) -> LayerTensors:
    """The names of a convolution's or linear layer's parameters."""
    return LayerTensors(f"{name}.weight", f"{name}.bias" if module.bias is not None else None)


def module_window(module: nn.modules.conv._ConvNd) -> Window | None:
    """The window of a convolution of one or two dimensions; None if its attributes say none."""
    return convolution_window(
        tuple(module.weight.shape[2:]), module.stride, module.padding, module.dilation, module.groups
    )


def convolution_window(kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: Any) -> Window | None:
    """A window from what torch is given; one dimension is the second of two."""
    dimensions = len(kernel)

    def pair(value: Any, default: int) -> tuple[int, int] | None:
        sides = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        sides = sides * dimensions if len(sides) == 1 else sides
        if len(sides) != dimensions or not all(isinstance(side, int) for side in sides):
            return None
        return (sides[0], sides[1]) if dimensions == 2 else (default, sides[0])

    steps = pair(dilation, 1)
    sides = pair(kernel, 1)
    if padding == "valid":
        padding = 0
    if padding == "same" and steps is not None and sides is not None:
        # torch puts the odd zero behind, so before is rounded down
        zeros: tuple[int, int] | None = (steps[0] * (sides[0] - 1) // 2, steps[1] * (sides[1] - 1) // 2)
    else:
        zeros = pair(padding, 0)
    strides = pair(stride, 1)
    if steps is None or sides is None or zeros is None or strides is None or not isinstance(groups, int):
        return None
    return Window(sides, strides, zeros, steps, groups)


def convolution_kind(window: Window, channels: int, outputs: int) -> str:
    """``"depthwise"``, ``"pointwise"`` or ``"conv"``."""
    if window.groups > 1 and window.groups == channels == outputs:
        return "depthwise"
    return "pointwise" if window == POINT else "conv"


def _convolution(
    reader: Reader,
    node: fx.Node,
    name: str,
    tensors: LayerTensors,
    window: Window,
    dimensions: int,
    transposed: bool = False,
) -> bool:
    source = node.args[0] if node.args else node.kwargs["input"]
    if len(shape_of(source)) != dimensions + 2:
        return False
    x, value = reader.image(source), value_of(shape_of(node))
    if x is None or value is None:
        return False
    kind = "transposed" if transposed else convolution_kind(window, reader.values[x].channels, value.channels)
    op = OpKind.conv_transpose if transposed else OpKind.depthwise if kind == "depthwise" else OpKind.conv
    module = name if node.op == "call_module" else ""
    reader.emit(op, (x,), node, value, layer=Weighted(name, kind, tensors, window), module=module)
    return True


def _linear(reader: Reader, node: fx.Node, name: str, tensors: LayerTensors, shape: tuple[int, ...]) -> bool:
    source = node.args[0] if node.args else node.kwargs["input"]
    module = name if node.op == "call_module" else ""
    if len(shape_of(source)) == 2:
        x, value = reader.image(source), value_of(shape_of(node))
        if x is None or value is None:
            return False
        reader.emit(OpKind.conv, (x,), node, value, layer=Weighted(name, "linear", tensors), module=module)
        return True
    x = reader.pixels(source)
    if x is None:
        return False
    reader.emit_pixels(OpKind.conv, (x,), node, shape[0], layer=Weighted(name, "pointwise", tensors), module=module)
    return True
