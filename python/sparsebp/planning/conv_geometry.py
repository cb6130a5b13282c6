"""The geometry of a convolution, as torch says it and as native code wants it."""

from __future__ import annotations

from torch import nn

from .. import _C
from ..capture.graph import Layer


def conv_shape(module: nn.Module, layer: Layer) -> _C.ConvShape:
    """Geometry of a ``Conv2d`` or ``Linear`` on this layer's input."""
    shape = _C.ConvShape()
    shape.height, shape.width = layer.input.height, layer.input.width
    shape.out_height, shape.out_width = layer.output.height, layer.output.width
    setattr(shape, "in", layer.input.channels)
    shape.out = layer.output.channels
    if isinstance(module, nn.Conv2d):
        shape.groups = module.groups
        shape.kernel_h, shape.kernel_w = _pair(module.kernel_size)
        shape.stride_h, shape.stride_w = _pair(module.stride)
        shape.dilation_h, shape.dilation_w = _pair(module.dilation)
        if module.padding == "same":  # torch puts the odd zero behind, so before is rounded down
            shape.pad_h, shape.pad_w = (
                d * (k - 1) // 2 for d, k in zip(_pair(module.dilation), _pair(module.kernel_size), strict=True)
            )
        elif not isinstance(module.padding, str):
            shape.pad_h, shape.pad_w = _pair(module.padding)
    return shape


def _pair(sides: int | tuple[int, ...]) -> tuple[int, int]:
    """Two sides, as somebody may have set one for both."""
    both = (sides, sides) if isinstance(sides, int) else tuple(sides) * (2 if len(sides) == 1 else 1)
    return both[0], both[1]
