"""Networks by name: what ``--model`` takes, ready to be given pretrained weights."""

from __future__ import annotations

from .networks.efficientnet_lite0 import EfficientNetLite0, MBConv, efficientnet_lite0
from .networks.mobilenet_v2 import (
    IMAGENET_STAGES,
    LAST_CHANNELS,
    InvertedResidual,
    MobileNetV2,
    Stage,
    mobilenet_v2,
    mobilenet_v2_tf,
)
from .networks.same_padding import SameConv2d

__all__ = [
    "IMAGENET_STAGES",
    "LAST_CHANNELS",
    "EfficientNetLite0",
    "InvertedResidual",
    "MBConv",
    "MobileNetV2",
    "SameConv2d",
    "Stage",
    "efficientnet_lite0",
    "mobilenet_v2",
    "mobilenet_v2_tf",
]
