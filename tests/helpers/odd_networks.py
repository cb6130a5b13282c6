"""Networks that stretch what ``convert`` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sparsebp
import torch
from networks import conv_norm
from torch import nn
from training import SIZE


def network(*middle: nn.Module) -> nn.Sequential:
    """``first`` and ``second`` convolution with ``middle`` between them, and a classifier."""
    parts = nn.Sequential()
    parts.add_module("first", conv_norm(3, 8, stride=2))
    for i, module in enumerate(middle):
        parts.add_module(f"middle{i}", module)
    parts.add_module("second", conv_norm(8, 8))
    parts.add_module("pool", nn.AdaptiveAvgPool2d(1))
    parts.add_module("flat", nn.Flatten())
    parts.add_module("classifier", nn.Linear(8, 10))
    return parts


class Branching(nn.Module):
    """Something that torch.fx cannot follow."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.abs().max() > 1e6:
            x = x / 2
        return self.inner(x)


class Calls(nn.Module):
    """A convolution and a classifier with the ``forward`` that is given."""

    def __init__(self, run: Callable[..., object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.classifier = nn.Linear(3, 10)
        self.run = run

    def forward(self, x: torch.Tensor) -> object:
        return self.run(self, x)


def classify(model: Calls, x: torch.Tensor) -> torch.Tensor:
    return model.classifier(x.mean((2, 3)))


def plan(net: nn.Module, **settings: Any) -> list[str]:
    return [layer.name for layer in sparsebp.plan(net, "64KB", input_size=SIZE, **settings)]
