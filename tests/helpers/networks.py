"""Small networks and numbers that the tests share."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import sparsebp
import torch
from torch import nn

Size = tuple[int, int, int]


def tolerance(dtype: torch.dtype, reduction: int) -> float:
    """Largest rounding error of a sum of ``reduction`` products, relative to the sum of their magnitudes.

    The errors of the additions are independent enough to grow with the root of their number; the two units
    on top are the rounding of the products' factors and of the result.
    """
    return torch.finfo(dtype).eps * (2 + sqrt(max(1, reduction)))


def assert_within_rounding(got: torch.Tensor, expected: torch.Tensor, magnitude: torch.Tensor, reduction: int) -> None:
    """Every element of ``got`` is the float64 ``expected`` up to rounding.

    ``magnitude`` is what the sum behind each element would be if every product were positive.
    """
    assert got.shape == expected.shape, f"shape {list(got.shape)}, expected {list(expected.shape)}"
    if got.numel() == 0:
        return
    error = (got.double() - expected).abs()
    # The reference rounds too.
    bound = (tolerance(got.dtype, reduction) + tolerance(torch.float64, reduction)) * magnitude
    worst = (error - bound).argmax()
    assert bool((error <= bound).all()), (
        f"element {int(worst)}: got {got.flatten()[worst]}, expected {expected.flatten()[worst]}, "
        f"allowed error {bound.flatten()[worst]}"
    )


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """``norm(got - expected) / norm(expected)``, in float64."""
    return ((got.double() - expected.double()).norm() / expected.double().norm()).item()


def randomize_norms(model: nn.Module, seed: int, input_size: Size = (3, 32, 32), calm: bool = False) -> nn.Module:
    """Gives every batch norm statistics and parameters far from those of a fresh one; returns the model.

    The convolution before it is scaled, channel by channel, by up to 8 in either direction. The statistics
    are those of random images, so that activations keep their size through any depth; a tenth of the
    scales are negative.

    A random network is chaotic: rounding flips a mask now and then, and a few steps later two correct runs
    have nothing in common. In a ``calm`` one every channel lies well inside its ReLU6; behind a depthwise or
    grouped convolution, a third lie well outside.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(count: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    modes = {m: m.training for m in model.modules()}
    momentum: dict[nn.BatchNorm2d, float | None] = {}
    grouped = False
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                grouped = module.groups > 1
                module.weight *= (2 ** uniform(module.out_channels, -3, 3)).view(-1, 1, 1, 1)
            elif isinstance(module, nn.BatchNorm2d):
                count = module.num_features
                sign = torch.where(uniform(count, 0, 1) < 0.1, -1.0, 1.0)
                module.weight.copy_(sign * uniform(count, 0.3, 1.5) * (0.25 if calm else 1))
                place = uniform(count, 0, 1)
                outside = torch.where(place < 1 / 6, -3.0, torch.where(place < 1 / 3, 9.0, 3.0))
                quiet = outside if grouped else torch.full((count,), 3.0)
                module.bias.copy_(quiet + 0.1 * place if calm else uniform(count, -0.5, 2.0))
                momentum[module], module.momentum = module.momentum, 1.0
        model.train()
        dtype = next(model.parameters()).dtype
        model(torch.randn(16, *input_size, generator=generator).to(dtype))
    for norm, value in momentum.items():
        norm.momentum = value
    for module, mode in modes.items():
        module.training = mode
    return model


def randomize_classifier(model: nn.Module, seed: int) -> nn.Module:
    """Gives every linear layer weights with which the loss has gradients of ordinary size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                scale = module.in_features**-0.5
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * scale)
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.1)
    return model


def batch(size: Size, images: int = 2, classes: int = 10, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, *size, generator=generator)
    return x, torch.randint(classes, (images,), generator=generator)


def mobilenet(seed: int = 0, classes: int = 10, dropout: float = 0.0, calm: bool = False) -> nn.Module:
    """MobileNetV2 with random batch-norm statistics."""
    return seeded(seed, lambda: sparsebp.models.mobilenet_v2(classes, dropout=dropout), (3, 64, 64), calm)


def tiny_mobilenet(seed: int = 0, classes: int = 10, dropout: float = 0.0, calm: bool = False) -> nn.Module:
    """Five inverted residuals, two of them with the addition, and a head; random batch-norm statistics.

    Any input size from 16 px up.
    """
    stages = [(1, 16, 1, 1), (6, 32, 2, 2), (6, 48, 2, 2)]
    return seeded(
        seed,
        lambda: sparsebp.models.mobilenet_v2(
            classes,
            0.5,
            dropout=dropout,
            inverted_residual_setting=stages,
            last_channel=64,
        ),
        calm=calm,
    )


class Residual(nn.Module):
    """``activation(shortcut(x) + body(x))``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, activation: bool = True) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut if shortcut is not None else nn.Identity()
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.shortcut(x) + self.body(x))


def conv_norm(
    channels: int, out: int, kernel: int = 3, activation: type[nn.Module] | None = nn.ReLU, **options: object
) -> nn.Sequential:
    """Convolution without bias, batch norm and, unless it is ``None``, an activation."""
    options.setdefault("padding", kernel // 2)
    layers: list[nn.Module] = [nn.Conv2d(channels, out, kernel, bias=False, **options), nn.BatchNorm2d(out)]  # type: ignore[arg-type]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def residual_network(seed: int = 0, classes: int = 10, calm: bool = False) -> nn.Module:
    """A small ResNet; any input size from 16 px up.

    It has additions with and without a strided shortcut, grouped, dilated and biased convolutions, average
    pooling inside and at the end.
    """

    def make() -> nn.Module:
        plain = Residual(nn.Sequential(conv_norm(8, 8), conv_norm(8, 8, activation=None)))
        strided = Residual(
            nn.Sequential(conv_norm(8, 16, stride=2), conv_norm(16, 16, activation=None)),
            conv_norm(8, 16, 1, None, stride=2),
        )
        grouped = Residual(
            nn.Sequential(
                conv_norm(16, 24, 1),
                conv_norm(24, 24, groups=4, activation=nn.ReLU6),
                conv_norm(24, 16, 1, None),
            )
        )
        dilated = nn.Sequential(nn.Conv2d(16, 20, 3, padding=2, dilation=2), nn.ReLU())
        return nn.Sequential(
            conv_norm(3, 8, stride=2),
            plain,
            strided,
            nn.AvgPool2d(3, stride=1, padding=1),
            grouped,
            dilated,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(20, classes),
        )

    return seeded(seed, make, calm=calm)


def biased_network(seed: int = 0, classes: int = 10, calm: bool = False) -> nn.Module:
    """Every convolution has a bias as well as a batch norm: alone, in inverted residuals and before the pooling.

    Any input size from 8 px up.
    """

    def part(channels: int, out: int, kernel: int, activation: bool = True, **options: Any) -> nn.Sequential:
        conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, **options)
        return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU6() if activation else nn.Identity())

    def make() -> nn.Module:
        bodies = [
            nn.Sequential(part(9, 18, 1), part(18, 18, 3, groups=18, stride=stride), part(18, out, 1, activation=False))
            for stride, out in ((1, 9), (2, 15))
        ]
        return nn.Sequential(
            part(3, 9, 3, stride=2),
            Residual(bodies[0], activation=False),
            bodies[1],
            part(15, 15, 3, groups=15),
            part(15, 20, 3, groups=5),
            part(20, 17, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(17, classes),
        )

    return seeded(seed, make, calm=calm)


def seeded(seed: int, make: Callable[[], nn.Module], input_size: Size = (3, 32, 32), calm: bool = False) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
    return randomize_classifier(randomize_norms(model, seed, input_size, calm), seed)
