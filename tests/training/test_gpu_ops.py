"""Every native op on a GPU, inside of networks: the same plan to the byte, the same training within rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gpu
import pytest
import sparsebp
import torch
import torch.nn.functional as F
from gpu_training import trained
from networks import randomize_norms
from torch import nn
from training import SIZE, one_thread  # noqa: F401

pytestmark = gpu.required


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.restore = nn.Conv2d(channels, 6, 1), nn.Conv2d(6, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.restore(F.silu(self.reduce(means))))


class Segmenter(nn.Module):
    """Down by a largest number of each window, up by a transposed convolution and by resizing, joined by channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.Hardswish())
        self.down = nn.Sequential(
            nn.MaxPool2d(3, 2, 1), nn.Conv2d(12, 20, 3, padding=1), nn.GroupNorm(5, 20), nn.GELU()
        )
        self.gate = Gate(20)
        self.up = nn.ConvTranspose2d(20, 12, 3, 2, 1, output_padding=1)
        self.slope, self.norm = nn.PReLU(20), nn.BatchNorm2d(24)
        self.last = nn.Conv2d(44, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        high = self.stem(x)
        low = self.gate(self.down(high))
        wide = F.interpolate(self.slope(low), scale_factor=2, mode="bilinear", align_corners=False)
        both = self.norm(torch.cat([self.up(low), high], 1))
        return self.last(torch.cat([both, wide], 1)).mean((2, 3))


class Mixer(nn.Module):
    """Channels in other orders, sums and products of halves, attention by softmax, norms of pixels, a flat end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.part, self.attend = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.norm, self.drop = nn.LayerNorm(16), nn.Dropout2d(0.3)
        self.end = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.mish(self.stem(x))
        a, b = x.chunk(2, 1)
        x = torch.cat([a - 0.5 * b, torch.tanh(self.part(b)) * a], 1)
        x = x.view(-1, 2, 8, 8, 8).transpose(1, 2).reshape(-1, 16, 8, 8)  # a channel shuffle
        x = x * torch.softmax(self.attend(x), 1) + 0.1 * F.elu(x)
        x = self.drop(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return self.end(F.softplus(F.adaptive_avg_pool2d(x, 4)).flatten(1))


class Inverted(nn.Module):
    """An inverted residual of hard swishes with a gate, as in MobileNetV3."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()

        def norm(conv: nn.Module, width: int) -> list[nn.Module]:
            return [conv, nn.BatchNorm2d(width)]

        self.expand = nn.Sequential(*norm(nn.Conv2d(channels, wide, 1, bias=False), wide), nn.Hardswish())
        filters = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.filter = nn.Sequential(*norm(filters, wide), nn.Hardswish())
        self.gate = Gate(wide)
        self.project = nn.Sequential(*norm(nn.Conv2d(wide, channels, 1, bias=False), channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.project(self.gate(self.filter(self.expand(x))))


class Mobile(nn.Sequential):
    """Gated blocks and a head of a curve, pooled."""

    def __init__(self) -> None:
        stem = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish()]
        head = [nn.Conv2d(16, 72, 1, bias=False), nn.BatchNorm2d(72), nn.Hardswish(), nn.AdaptiveAvgPool2d(1)]
        super().__init__(*stem, Inverted(16, 40), Inverted(16, 33), *head, nn.Flatten(), nn.Linear(72, 10))


#: Bytes in which some channels of some layers train.
BUDGETS: dict[Callable[[], nn.Module], int] = {Segmenter: 255 * 1024, Mixer: 96 * 1024, Mobile: 60 * 1024}


@pytest.mark.parametrize("make", BUDGETS)
@pytest.mark.parametrize("settings", [{}, {"gradients": "sum", "momentum": True}], ids=["in place", "sums"])
def test_a_network_of_many_ops_trains_as_on_the_processor(
    make: Callable[[], nn.Module], settings: dict[str, Any]
) -> None:
    budget = 1 << 20 if settings else BUDGETS[make]
    torch.manual_seed(0)
    here = randomize_norms(make(), 1, SIZE)
    there = gpu.place(copy.deepcopy(here))
    before = {k: v.clone() for k, v in here.state_dict().items()}
    asked: dict[str, Any] = {"input_size": SIZE, "batch_size": 2, **settings}
    reference = sparsebp.convert(here, budget, **asked).train()
    with gpu.active():
        model = sparsebp.convert(there, budget, **asked).train()
    assert model.engine.program.isa == "cuda"
    assert model.plan == reference.plan
    options = {"momentum": 0.9} if "momentum" in settings else {}
    for each in (model, reference):
        torch.manual_seed(0)  # of the dropouts
        trained(each, 3, 0.02, **options)
    assert model.arena.peak == model.plan.peak_bytes == reference.arena.peak
    moved = {k: v - before[k] for k, v in reference.state_dict().items() if v.is_floating_point()}
    error = {k: model.state_dict()[k].cpu() - before[k] - moved[k] for k in moved}
    size = torch.stack([v.norm() for v in moved.values()]).norm()
    assert size > 0
    assert torch.stack([v.norm() for v in error.values()]).norm() <= 1e-3 * size
