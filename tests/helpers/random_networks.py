"""A network of random parts."""

from __future__ import annotations

import random

from networks import Residual, Size, conv_norm, seeded
from torch import nn


def random_network(rng: random.Random, classes: int = 5) -> tuple[nn.Module, Size]:
    """A network of any of the supported parts that ends in a linear layer, and the size of its images."""
    channels, size = 3, (rng.randint(6, 13), rng.randint(6, 13))
    input_size = (3, *size)
    parts: list[nn.Module] = []
    for i in range(rng.randint(2, 6)):
        # The network trains a convolution whatever is drawn.
        kind = "conv" if i == 0 else rng.choice(_KINDS)
        part, channels = _random_part(rng, kind, channels)
        parts.append(part)
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if rng.random() < 0.5:
        hidden = rng.randint(3, 12)
        parts += [nn.Linear(channels, hidden), nn.ReLU()]
        channels = hidden
    parts.append(nn.Linear(channels, classes))
    model = seeded(rng.getrandbits(31), lambda: _reset(nn.Sequential(*parts)), input_size)
    return model, input_size


_KINDS = (
    "conv",
    "conv",
    "grouped",
    "depthwise",
    "inverted",
    "inverted",
    "residual",
    "pool",
    "dropout",
    "relu",
)


def _random_part(rng: random.Random, kind: str, channels: int) -> tuple[nn.Module, int]:
    """A module that keeps an image of any size at least one pixel large, and its output channels."""
    activation = rng.choice([nn.ReLU, nn.ReLU6, None])
    out = rng.choice([1, 3, 7, 8, 9, 15, 16, 17])
    if kind == "conv":
        kernel, stride, dilation = rng.choice([1, 3, 5]), rng.choice([1, 1, 2]), rng.choice([1, 1, 2])
        options = {"stride": stride, "dilation": dilation, "padding": kernel // 2 * dilation}
        if rng.random() < 0.5:
            return conv_norm(channels, out, kernel, activation, **options), out
        layers: list[nn.Module] = [nn.Conv2d(channels, out, kernel, **options)]  # type: ignore[arg-type]
        return nn.Sequential(*layers, *([activation()] if activation else [])), out
    if kind == "grouped":
        groups = rng.choice([g for g in range(1, channels + 1) if channels % g == 0])
        out = groups * rng.randint(1, 4)
        return conv_norm(channels, out, 3, activation, groups=groups), out
    if kind == "depthwise":
        return conv_norm(
            channels, channels, rng.choice([3, 5]), activation, groups=channels, stride=rng.choice([1, 2])
        ), channels
    if kind == "inverted":
        hidden, stride = channels * rng.choice([1, 2, 6]), rng.choice([1, 1, 2])
        out = channels if stride == 1 else out
        layers = [conv_norm(channels, hidden, 1, nn.ReLU6)] if hidden != channels else []
        layers.append(conv_norm(hidden, hidden, 3, nn.ReLU6, groups=hidden, stride=stride))
        body = nn.Sequential(*layers, conv_norm(hidden, out, 1, None))
        return (Residual(body, activation=False) if stride == 1 else body), out
    if kind == "residual":
        body = nn.Sequential(conv_norm(channels, out), conv_norm(out, channels, activation=None))
        return Residual(body, activation=rng.random() < 0.5), channels
    if kind == "pool":
        return nn.AvgPool2d(3, stride=rng.choice([1, 2]), padding=1, count_include_pad=rng.random() < 0.5), channels
    return (nn.Dropout(0.3) if kind == "dropout" else nn.ReLU()), channels


def _reset(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.reset_parameters()
    return model
