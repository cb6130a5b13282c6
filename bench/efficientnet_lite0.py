"""EfficientNet-Lite0 in plain modules: Google's for mobile tools, without squeeze-and-excitation and swish."""

from __future__ import annotations

import torch
from torch import nn

STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5))
"""Expansion, channels, blocks, stride of the first, kernel; a last block of 320 channels follows."""


class InvertedResidual(nn.Module):
    """Expand, filter, project, and add the input where it has the output's shape."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = _layer(inputs, wide, 1) if expansion > 1 else []
        project = [nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.layers = nn.Sequential(*expand, *_layer(wide, wide, kernel, stride, wide), *project)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block."""
        return x + self.layers(x) if self.residual else self.layers(x)


def efficientnet_lite0(classes: int) -> nn.Module:
    """Freshly initialised."""
    blocks, channels = [], 32
    for expansion, outputs, count, stride, kernel in (*STAGES, (6, 320, 1, 1, 3)):
        for i in range(count):
            blocks.append(InvertedResidual(channels, outputs, expansion, kernel, stride if i == 0 else 1))
            channels = outputs
    head = [*_layer(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes)]
    return nn.Sequential(*_layer(3, 32, 3, 2), *blocks, *head)


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU6()]
