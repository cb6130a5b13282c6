"""MobileNetV2 in plain PyTorch, without torchvision.

The network has torchvision's module tree, so its checkpoints load here with ``strict=True`` and
the other way round: ``features`` is the stem, the inverted-residual blocks and the last 1x1
convolution, ``classifier`` is dropout and a linear layer. What torchvision fixes and small devices
want to choose (the stages and the width of the last convolution) can be given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .same_padding import check_padding, padded_conv

Stage = tuple[int, int, int, int]
"""A run of blocks: expansion, output channels before the width multiplier, blocks, first stride."""

IMAGENET_STAGES: tuple[Stage, ...] = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""The seventeen blocks of the published network (Sandler et al., CVPR 2018, table 2)."""

STEM_CHANNELS = 32
LAST_CHANNELS = 1280
"""Channels of the last convolution, for widths up to 1."""

CHANNEL_MULTIPLE = 8


def _make_divisible(channels: float, multiple: int = CHANNEL_MULTIPLE) -> int:
    """Round ``channels`` to the nearest ``multiple`` without losing more than a tenth of them."""
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded if rounded >= 0.9 * channels else rounded + multiple


def _conv_bn_relu6(
    in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, groups: int = 1, padding: str = "symmetric"
) -> nn.Sequential:
    """Convolution (padded to keep the size at stride 1), batch norm, ReLU6.

    ``(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))``
    """
    return nn.Sequential(
        padded_conv(padding, in_channels, out_channels, kernel, stride, groups),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand (1x1), filter (3x3 depthwise), project (1x1, linear), and add the input where it fits.

    ``(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))``. The
    expansion is left out when ``expand_ratio`` is 1; the addition happens when the block changes
    neither size nor channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expand_ratio: int, padding: str = "symmetric"
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2, got {stride!r}")
        if expand_ratio < 1:
            raise ValueError(f"expand_ratio must be at least 1, got {expand_ratio!r}")
        self.stride = stride
        self.out_channels = out_channels
        self.use_res_connect = stride == 1 and in_channels == out_channels
        hidden = in_channels * expand_ratio
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(_conv_bn_relu6(in_channels, hidden, kernel=1))
        layers.append(_conv_bn_relu6(hidden, hidden, kernel=3, stride=stride, groups=hidden, padding=padding))
        layers.append(nn.Conv2d(hidden, out_channels, 1, bias=False))
        layers.append(nn.BatchNorm2d(out_channels))
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.use_res_connect else y


class MobileNetV2(nn.Module):
    """MobileNetV2: ``(N, 3, H, W)`` images to ``(N, num_classes)`` logits.

    Args:
        num_classes: outputs of the classifier.
        width_mult: multiplies the channels of the stem and of every stage (rounded to multiples of
            eight). The last convolution grows with it above 1 and never shrinks below 1280.
        dropout: probability of dropping a pooled feature in training mode.
        inverted_residual_setting: the stages, each ``(expansion, channels, blocks, stride)``;
            ``None`` is the published network.
        last_channel: channels of the last convolution, taken as given; ``None`` is the rule of
            ``width_mult``.
        padding: of stride-2 convolutions: ``"symmetric"`` as torchvision pads, or ``"tf"`` as Keras and
            TensorFlow do, right and bottom only at even sizes. At 32 k + 1 pixels a side they are the same.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        *,
        dropout: float = 0.2,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        last_channel: int | None = None,
        padding: str = "symmetric",
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes!r}")
        if not (math.isfinite(width_mult) and width_mult > 0):
            raise ValueError(f"width_mult must be a positive finite number, got {width_mult!r}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability in [0, 1], got {dropout!r}")
        if last_channel is None:
            last_channel = _make_divisible(LAST_CHANNELS * max(1.0, width_mult))
        elif last_channel < 1:
            raise ValueError(f"last_channel must be at least 1, got {last_channel!r}")
        if inverted_residual_setting is None:
            inverted_residual_setting = IMAGENET_STAGES
        check_padding(padding)

        channels = _make_divisible(STEM_CHANNELS * width_mult)
        features: list[nn.Module] = [_conv_bn_relu6(3, channels, kernel=3, stride=2, padding=padding)]
        for expansion, stage_channels, blocks, stride in _checked_stages(inverted_residual_setting):
            out_channels = _make_divisible(stage_channels * width_mult)
            for index in range(blocks):
                block_stride = stride if index == 0 else 1
                features.append(InvertedResidual(channels, out_channels, block_stride, expansion, padding))
                channels = out_channels
        features.append(_conv_bn_relu6(channels, last_channel, kernel=1))

        self.last_channel = last_channel
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last_channel, num_classes))
        self._initialise()

    def _initialise(self) -> None:
        """Keep the variance of the backward signal (He et al. 2015); start with small logits."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        x = torch.flatten(x, 1)
        logits: Tensor = self.classifier(x)
        return logits


def _checked_stages(setting: Sequence[Sequence[int]]) -> list[Stage]:
    """The stages as tuples, or a ``ValueError`` that names the stage and what is wrong with it."""
    if len(setting) == 0:
        raise ValueError("inverted_residual_setting must hold at least one stage, got none")
    stages: list[Stage] = []
    for position, stage in enumerate(setting):
        name = f"inverted_residual_setting[{position}]"
        if len(stage) != 4:
            expected = "(expansion, channels, blocks, stride)"
            raise ValueError(f"{name} must be {expected}, got {tuple(stage)!r}")
        expansion, channels, blocks, stride = stage
        for what, value in zip(("expansion", "channels", "blocks"), stage, strict=False):
            if value < 1:
                raise ValueError(f"{name}: {what} must be at least 1, got {value!r}")
        if stride not in (1, 2):
            raise ValueError(f"{name}: stride must be 1 or 2, got {stride!r}")
        stages.append((expansion, channels, blocks, stride))
    return stages


def mobilenet_v2(
    num_classes: int = 1000,
    width_mult: float = 1.0,
    *,
    dropout: float = 0.2,
    inverted_residual_setting: Sequence[Sequence[int]] | None = None,
    last_channel: int | None = None,
    padding: str = "symmetric",
) -> MobileNetV2:
    """A freshly initialised :class:`MobileNetV2`; see there for the arguments.

    >>> mobilenet_v2(10)(torch.zeros(2, 3, 96, 96)).shape
    torch.Size([2, 10])
    """
    return MobileNetV2(
        num_classes,
        width_mult,
        dropout=dropout,
        inverted_residual_setting=inverted_residual_setting,
        last_channel=last_channel,
        padding=padding,
    )


def mobilenet_v2_tf(num_classes: int = 1000, width_mult: float = 1.0) -> MobileNetV2:
    """:func:`mobilenet_v2` with ``padding="tf"``, as a name for command lines: for weights from Keras."""
    return mobilenet_v2(num_classes, width_mult, padding="tf")
