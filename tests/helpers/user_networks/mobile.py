"""Networks for small machines, around inverted residuals and depthwise convolutions."""

from __future__ import annotations

import sparsebp
import torch
import torch.nn.functional as F
from declared_ops import torchvision
from torch import nn

from .images import group_norm

_STAGES = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]]


def mobilenet(classes: int = 10, **options: object) -> nn.Module:
    """torchvision's MobileNetV2 at half its width with five blocks."""
    return torchvision.models.MobileNetV2(classes, 0.5, _STAGES, dropout=0.0, **options)  # type: ignore[arg-type]


def tiny(classes: int = 10) -> nn.Module:
    """Ours, likewise."""
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2)]
    return sparsebp.models.mobilenet_v2(classes, 0.5, inverted_residual_setting=stages, last_channel=64, dropout=0.0)


class Normalised(nn.Module):
    """Images in 0 to 255; the usual means and deviations are taken inside."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.net = tiny()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net((x / 255 - self.mean) / self.std)


def two_layer_head() -> nn.Module:
    """A classifier that people put in place of the last layer."""
    model = mobilenet()
    model.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(1280, 32), nn.ReLU(), nn.Linear(32, 10))
    return model


def fomo() -> nn.Module:
    """A heatmap of classes over what MobileNetV2 sees."""
    return nn.Sequential(mobilenet().features[:6], nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 3, 1))


def ds_cnn() -> nn.Module:
    """Keyword spotting from MFCCs: depthwise separable convolutions over time and frequency."""

    def separable(channels: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        norms = [nn.BatchNorm2d(channels) for _ in range(2)]
        return [depthwise, norms[0], nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False), norms[1], nn.ReLU()]

    stem = [nn.Conv2d(1, 32, (10, 4), (2, 2), (5, 1), bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    blocks = [module for _ in range(4) for module in separable(32)]
    return nn.Sequential(*stem, *blocks, nn.AvgPool2d((25, 5)), nn.Flatten(), nn.Linear(32, 12))


class MobileFace(nn.Module):
    """PReLU everywhere, a global depthwise convolution, an embedding with BatchNorm1d."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._part(3, 16, 3, 2, 1)
        self.depthwise = self._part(16, 16, 3, 1, 16)
        self.expand, self.inner = self._part(16, 32, 1, 1, 1), self._part(32, 32, 3, 2, 32)
        self.project = nn.Sequential(nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.last = self._part(16, 64, 1, 1, 1)
        self.all = nn.Sequential(nn.Conv2d(64, 64, 8, groups=64, bias=False), nn.BatchNorm2d(64))
        self.embed, self.norm = nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32)

    @staticmethod
    def _part(channels: int, out: int, kernel: int, stride: int, groups: int) -> nn.Module:
        conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(out), nn.PReLU(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.project(self.inner(self.expand(self.depthwise(self.stem(x)))))
        x = self.all(self.last(x))
        return self.norm(self.embed(x.view(x.size(0), -1)))


class SameConv(nn.Conv2d):
    """TensorFlow's "same" padding, as timm writes it: more behind than in front."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        edges: list[int] = []
        for size, kernel, stride, dilation in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], self.dilation[::-1], strict=True
        ):
            reach = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            edges += [reach // 2, reach - reach // 2]
        return F.conv2d(F.pad(x, edges), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def same_modules() -> nn.Module:
    """Convolutions that pad themselves."""
    return nn.Sequential(
        SameConv(3, 8, 3, 2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        SameConv(8, 8, 5, 2, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 16, 1),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


class Padded(nn.Module):
    """``F.pad`` and ``nn.ZeroPad2d`` in front of strided convolutions, as networks from Keras are rewritten."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.stem = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, 2)
        self.depthwise, self.point = nn.Conv2d(8, 8, 3, 2, groups=8), nn.Conv2d(8, 16, 1)
        self.norm, self.fc = nn.BatchNorm2d(8), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.norm(self.stem(self.pad(x))))
        x = F.relu6(self.depthwise(F.pad(x, (0, 1, 0, 1))))
        return self.fc(F.relu6(self.point(x)).mean((2, 3)))


NETWORKS = {
    "mobilenet_v2 with GroupNorm": (lambda: mobilenet(norm_layer=group_norm), (3, 32, 32)),
    "mobilenet_v2 with a head of two layers": (two_layer_head, (3, 32, 32)),
    "normalise inside, mobilenet_v2": (Normalised, (3, 32, 32)),
    "FOMO, a heatmap": (fomo, (3, 32, 32)),
    "DS-CNN keywords, 2d": (ds_cnn, (1, 49, 10)),
    "MobileFaceNet, PReLU": (MobileFace, (3, 32, 32)),
    "Conv2dSame": (same_modules, (3, 32, 32)),
    "TF padding by F.pad": (Padded, (3, 32, 32)),
}
