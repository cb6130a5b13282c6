"""Padding as TensorFlow does it, for networks whose weights were trained with it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

PADDINGS = ("symmetric", "tf")
"""Of a convolution: ``kernel // 2`` on all sides, or TensorFlow's "same"."""


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same" is: ``ceil(size / stride)`` pixels come out, and where the zeros that
    this takes are odd in number, the bottom and the right get one more than the top and the left.

    ``(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))``. At stride 1 an odd kernel gets
    ``kernel // 2`` zeros on all sides, at stride 2 so it does where the size is odd.
    """

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = _zeros(x.shape[2], self.kernel_size[0], self.stride[0])
        left, right = _zeros(x.shape[3], self.kernel_size[1], self.stride[1])
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _zeros(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """How many zeros "same" puts before and behind ``size`` pixels."""
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def padded_conv(padding: str, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1, padded in one of :data:`PADDINGS`."""
    if padding == "tf" and stride > 1:  # at stride 1 an odd kernel has nothing to tell them apart
        return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def check_padding(padding: object) -> None:
    """Raises ValueError unless it is one of :data:`PADDINGS`."""
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
