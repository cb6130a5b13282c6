"""Networks whose output is an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def double_conv(channels: int, out: int) -> nn.Sequential:
    """Two convolutions with their norms."""
    layers: list[nn.Module] = []
    for c in (channels, out):
        layers += [nn.Conv2d(c, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Three levels; upsampling by interpolation or by transposed convolutions."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.down = nn.ModuleList([double_conv(3, 8), double_conv(8, 16), double_conv(16, 32)])
        wide = [16, 8] if transposed else [32, 16]
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, 2) for c in wide) if transposed else None
        self.merge = nn.ModuleList([double_conv(wide[0] + 16, 16), double_conv(wide[1] + 8, 8)])
        self.pool, self.last = nn.MaxPool2d(2), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.down[0](x)
        second = self.down[1](self.pool(first))
        x = self.down[2](self.pool(second))
        for i, seen in enumerate((second, first)):
            if self.up is not None:
                x = self.up[i](x)
            else:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = self.merge[i](torch.cat([seen, x], dim=1))
        return self.last(x)


class OddUNet(nn.Module):
    """As milesial/Pytorch-UNet: what was upsampled is padded to the size of the skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.merge = double_conv(3, 8), double_conv(8, 16), double_conv(16, 8)
        self.up, self.last = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        x = self.up(self.second(F.max_pool2d(first, 2)))
        dy, dx = first.size(2) - x.size(2), first.size(3) - x.size(3)
        x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.last(self.merge(torch.cat([first, x], dim=1)))


def autoencoder() -> nn.Module:
    """Strided convolutions down, transposed ones up, pixels in 0 to 1."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 8, 3, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 16, 2, 2),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 3, 3, 2, 1, output_padding=1),
        nn.Sigmoid(),
    )


def super_resolution() -> nn.Module:
    """ESPCN: channels become pixels at the end."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(16, 8, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 9, 3, padding=1),
        nn.PixelShuffle(3),
    )


class Pyramid(nn.Module):
    """A feature pyramid: levels are resized by nearest neighbours and added."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([double_conv(3, 8), double_conv(8, 16), double_conv(16, 16)])
        self.side = nn.ModuleList(nn.Conv2d(c, 8, 1) for c in (8, 16, 16))
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = []
        for down in self.down:
            x = F.max_pool2d(down(x), 3, 2, 1)
            levels.append(x)
        x = self.side[2](levels[2])
        for i in (1, 0):
            x = self.side[i](levels[i]) + F.interpolate(x, size=levels[i].shape[-2:], mode="nearest")
        return self.last(x)


class Aspp(nn.Module):
    """DeepLab's head: dilated branches and the mean of the image, spread out again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = double_conv(3, 16)
        self.branches = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=d, dilation=d) for d in (1, 2, 4))
        self.mean, self.last = nn.Conv2d(16, 8, 1), nn.Conv2d(32, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.avg_pool2d(self.stem(x), 2)
        mean = F.relu(self.mean(F.adaptive_avg_pool2d(x, 1)))
        mean = F.interpolate(mean, size=x.shape[-2:], mode="bilinear", align_corners=False)
        x = torch.cat([*(F.relu(branch(x)) for branch in self.branches), mean], 1)
        return F.interpolate(self.last(x), scale_factor=2, mode="bilinear", align_corners=False)


NETWORKS = {
    "U-Net, bilinear": (lambda: UNet(False), (3, 32, 32)),
    "U-Net, ConvTranspose2d": (lambda: UNet(True), (3, 32, 32)),
    "U-Net, odd sizes padded": (OddUNet, (3, 21, 27)),
    "ConvAutoencoder": (autoencoder, (3, 32, 32)),
    "super-resolution, PixelShuffle": (super_resolution, (1, 16, 16)),
    "feature pyramid": (Pyramid, (3, 32, 32)),
    "ASPP": (Aspp, (3, 16, 16)),
}
