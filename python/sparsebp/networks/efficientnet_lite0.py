"""EfficientNet-Lite0 in plain PyTorch: Google's for mobile tools, without squeeze-and-excitation and swish.

The module tree has the names of the published PyTorch weights (``_conv_stem``, ``_blocks.3._expand_conv``, ...), which
load here with ``strict=True``. They were trained with TensorFlow's padding and on pixels of ``(v - 127) / 128``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .same_padding import check_padding, padded_conv

STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5))
LAST_STAGE = (6, 320, 1, 1, 3)
"""Expansion, output channels, blocks, stride of the first, kernel (Tan and Le, ICML 2019, table 1)."""

STEM_CHANNELS = 32
LAST_CHANNELS = 1280
PIXELS = (-127 / 128, 1.0)
"""What pixel values 0 and 255 were when the published weights were trained."""


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MBConv(nn.Module):
    """Expand (1x1), filter (depthwise), project (1x1, linear), and add the input where it fits.

    ``(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))``. The expansion is left out when
    ``expansion`` is 1; the addition happens when the block changes neither size nor channels.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, padding: str) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = padded_conv(padding, wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)
        self._relu6 = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0: ``(N, 3, H, W)`` images to ``(N, num_classes)`` logits.

    Args:
        num_classes: outputs of the classifier.
        dropout: probability of dropping a pooled feature in training mode.
        padding: of stride-2 convolutions: ``"tf"`` as the published weights were trained, right and bottom only at even
            sizes, or ``"symmetric"``. At 32 k + 1 pixels a side the two are the same.
    """

    def __init__(self, num_classes: int = 1000, *, dropout: float = 0.2, padding: str = "tf") -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes!r}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability in [0, 1], got {dropout!r}")
        check_padding(padding)
        self._conv_stem = padded_conv(padding, 3, STEM_CHANNELS, 3, 2)
        self._bn0 = _norm(STEM_CHANNELS)
        channels, blocks = STEM_CHANNELS, []
        for expansion, outputs, count, stride, kernel in (*STAGES, LAST_STAGE):
            for i in range(count):
                blocks.append(MBConv(channels, outputs, expansion, kernel, stride if i == 0 else 1, padding))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, LAST_CHANNELS, 1, bias=False)
        self._bn1 = _norm(LAST_CHANNELS)
        self._relu6 = nn.ReLU6(inplace=True)
        self._dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(LAST_CHANNELS, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """Keep the variance of the backward signal (He et al. 2015); start with small logits."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.normal_(self._fc.weight, 0.0, 0.01)
        nn.init.zeros_(self._fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self._relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = self._relu6(self._bn1(self._conv_head(x)))
        x = torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)
        logits: Tensor = self._fc(self._dropout(x))
        return logits


def efficientnet_lite0(num_classes: int = 1000, *, dropout: float = 0.2, padding: str = "tf") -> EfficientNetLite0:
    """A freshly initialised :class:`EfficientNetLite0`; see there for the arguments.

    >>> efficientnet_lite0(10)(torch.zeros(2, 3, 96, 96)).shape
    torch.Size([2, 10])
    """
    return EfficientNetLite0(num_classes, dropout=dropout, padding=padding)


def is_efficientnet_lite(names: Iterable[str]) -> bool:
    """Whether weights have the names of the published ones. Those of EfficientNet-B0 and on have squeeze-and-excitation
    beside them, and other pixels."""
    parts = {part for name in names for part in name.split(".")}
    return {"_conv_stem", "_blocks", "_conv_head"} <= parts and "_se_reduce" not in parts
