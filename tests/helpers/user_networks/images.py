"""Classifiers written by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from declared_ops import torchvision
from torch import nn


class Mnist(nn.Module):
    """The network of pytorch/examples."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.dropout2(x)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


class LeNet(nn.Module):
    """With average pools, tanh and ``view``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = x.view(-1, 256)
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


class Cifar(nn.Module):
    """The network of torch's tutorial: one pool for all, ``flatten`` with no pooling to one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Twice(nn.Module):
    """``x + y + x``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.conv(x))
        return self.fc((x + y + x).mean(3).mean(2))


class Difference(nn.Module):
    """Subtractions, scales and shifts by plain numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blur, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 16, 1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.stem(2 * x - 1), 0.1)
        x = x - self.blur(x) / 3 + 1
        x = 1 - F.elu(self.last(torch.sub(x, x, alpha=0.5)))
        return self.fc(F.adaptive_avg_pool2d(-x, 1)[:, :, 0, 0])


def sequential() -> nn.Module:
    """Flattens without pooling to one pixel."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 8 * 8, 10),
    )


def norm_in_head() -> nn.Module:
    """A batch norm in front of the pooling, and BatchNorm1d between linear layers."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.BatchNorm2d(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def group_norm(channels: int) -> nn.Module:
    """As a norm layer."""
    return nn.GroupNorm(4 if channels % 4 == 0 else 1, channels)


def resnet(norm: Callable[[int], nn.Module]) -> nn.Module:
    """Four basic blocks."""
    return torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], 10, norm_layer=norm)


NETWORKS = {
    "mnist of pytorch/examples": (Mnist, (1, 28, 28)),
    "LeNet, tanh": (LeNet, (1, 28, 28)),
    "CIFAR of torch's tutorial": (Cifar, (3, 32, 32)),
    "x+y+x": (Twice, (3, 32, 32)),
    "subtractions": (Difference, (3, 32, 32)),
    "flatten without a pool": (sequential, (3, 32, 32)),
    "BatchNorm1d in the head": (norm_in_head, (3, 32, 32)),
    "resnet10 with GroupNorm": (lambda: resnet(group_norm), (3, 32, 32)),
}
