"""The geometry of a layer as native code wants it."""

from __future__ import annotations

from .. import _C
from ..capture.layer import Layer


def conv_shape(layer: Layer) -> _C.ConvShape:
    """Geometry of a layer on its input; a norm is one tap of each channel by itself."""
    shape, window = _C.ConvShape(), layer.window
    shape.height, shape.width = layer.input.height, layer.input.width
    shape.out_height, shape.out_width = layer.output.height, layer.output.width
    setattr(shape, "in", layer.input.channels)
    shape.out = layer.output.channels
    shape.groups = layer.input.channels if layer.kind == "norm" else window.groups
    shape.kernel_h, shape.kernel_w = window.kernel
    shape.stride_h, shape.stride_w = window.stride
    shape.pad_h, shape.pad_w = window.padding
    shape.dilation_h, shape.dilation_w = window.dilation
    return shape
