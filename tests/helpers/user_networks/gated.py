"""Gates, shuffles and what else people write between convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def conv(channels: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    layer = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out))


class Classifier(nn.Module):
    """A stem, what is tried, and a linear layer."""

    def __init__(self, channels: int = 16, out: int = 16) -> None:
        super().__init__()
        self.stem, self.fc = conv(3, channels, 3, 2), nn.Linear(out, 10)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.middle(F.relu(self.stem(x))).mean([2, 3]))


class Hardswish(Classifier):
    """``x * relu6(x + 3) / 6``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(16, 16)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x * F.relu6(x + 3) / 6


class SqueezeExcite(Classifier):
    """Means by ``mean([2, 3])``, a gate by ``sigmoid`` and one by hard sigmoid written out."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise, self.project = conv(16, 32, 1), conv(32, 32, 3, 1, 32), conv(32, 16, 1)
        self.reduce, self.restore = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.fc1, self.fc2 = nn.Linear(16, 4), nn.Linear(4, 16)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        y = F.silu(self.depthwise(F.silu(self.expand(x))))
        gate = self.restore(F.silu(self.reduce(y.mean([2, 3], keepdim=True)))).sigmoid()
        x = x + self.project(gate * y)
        n, c, _, _ = x.shape
        gate = F.relu6(self.fc2(F.relu(self.fc1(x.mean(3).mean(2)))) + 3) / 6
        return x * gate.view(n, c, 1, 1)


class Eca(Classifier):
    """Efficient channel attention: a Conv1d over the means of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = conv(16, 16), nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x))
        gate = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2)
        gate = self.gate(gate).transpose(-1, -2).unsqueeze(-1)
        return x * gate.sigmoid().expand_as(x)


class Cbam(Classifier):
    """A gate per channel from means and maxima, and a gate per pixel from those over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(16, 16)
        self.mlp = nn.Sequential(nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x))
        x = x * torch.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1)))
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.spatial(seen))


class PixelGate(Classifier):
    """A gate per pixel by a convolution, as in scSE."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = conv(16, 16), nn.Conv2d(16, 1, 1)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x))
        return x * torch.sigmoid(self.gate(x))


def shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Channels of all groups in turn."""
    n, c, h, w = x.size()
    x = x.view(n, groups, c // groups, h, w)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(n, -1, h, w)


class Shuffle(Classifier):
    """A unit of ShuffleNet V2 and one of V1."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv(8, 8, 1), nn.ReLU(), conv(8, 8, 3, 1, 8), conv(8, 8, 1), nn.ReLU())
        self.grouped, self.depthwise = conv(16, 16, 1, 1, 4), conv(16, 16, 3, 1, 16)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        kept, x = x.chunk(2, dim=1)
        x = shuffle(torch.cat((kept, self.branch(x)), dim=1), 2)
        return F.relu(x + self.depthwise(shuffle(F.relu(self.grouped(x)), 4)))


class Ghost(Classifier):
    """A GhostNet module: half the features by a cheap depthwise convolution, more than are wanted, sliced."""

    def __init__(self) -> None:
        super().__init__(16, 15)
        self.primary, self.cheap = conv(16, 8, 1), conv(8, 8, 3, 1, 8)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.primary(x))
        return torch.cat([x, F.relu(self.cheap(x))], dim=1)[:, :15]


class SpaceToDepth(Classifier):
    """YOLOv5's focus: four slices of every other pixel, side by side."""

    def __init__(self) -> None:
        super().__init__(12)
        self.conv = conv(48, 16)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return F.silu(self.conv(torch.cat(parts, 1)))


class Csp(Classifier):
    """YOLOv8's C2f: chunks, a list that grows, and one concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = conv(16, 16, 1), conv(32, 16, 1)
        self.parts = nn.ModuleList(conv(8, 8) for _ in range(2))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        y = list(F.silu(self.first(x)).chunk(2, 1))
        for part in self.parts:
            y.append(F.silu(part(y[-1])))
        return F.silu(self.last(torch.cat(y, 1)))


class ConvNeXt(Classifier):
    """A block in NHWC: permute, LayerNorm, two linear layers, a scale per channel, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(16, 16, 7, padding=3, groups=16), nn.LayerNorm(16, eps=1e-6)
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)
        self.scale = nn.Parameter(0.1 * torch.ones(16))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.scale * self.down(F.gelu(self.up(self.norm(y))))
        return x + y.permute(0, 3, 1, 2)


class RepVgg(Classifier):
    """A block in its training form: three branches, one of them a batch norm alone."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.point, self.same = conv(16, 16), conv(16, 16, 1), nn.BatchNorm2d(16)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.wide(x) + self.point(x) + self.same(x))


class StochasticDepth(Classifier):
    """A residual branch that training drops now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(16, 16), nn.ReLU(), conv(16, 16))
        self.p = 0.2

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(1 - self.p)
        return x * kept / (1 - self.p)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.drop(self.body(x)))


class Dense(Classifier):
    """Two layers of DenseNet: norm and activation in front of convolutions, everything before side by side."""

    def __init__(self) -> None:
        super().__init__(16, 24)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in (16, 24, 32))
        self.convs = nn.ModuleList(nn.Conv2d(c, 8, 3, padding=1, bias=False) for c in (16, 24))
        self.squeeze = nn.Conv2d(32, 24, 1, bias=False)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        for norm, layer in zip(self.norms, self.convs, strict=False):
            x = torch.cat([x, layer(F.relu(norm(x)))], 1)
        return F.avg_pool2d(self.squeeze(F.relu(self.norms[2](x))), 2, 2)


_KINDS = {
    "hardswish by hand": Hardswish,
    "squeeze-excite by hand": SqueezeExcite,
    "ECA": Eca,
    "CBAM": Cbam,
    "a gate per pixel": PixelGate,
    "shuffle by view and transpose": Shuffle,
    "ghost module": Ghost,
    "space-to-depth slices": SpaceToDepth,
    "C2f": Csp,
    "ConvNeXt block in NHWC": ConvNeXt,
    "RepVGG in training form": RepVgg,
    "stochastic depth": StochasticDepth,
    "DenseNet layers": Dense,
}
NETWORKS = {name: (kind, (3, 32, 32)) for name, kind in _KINDS.items()}
