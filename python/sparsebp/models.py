"""Networks by name: what ``--model`` takes, ready to be given pretrained weights."""

from __future__ import annotations

from .networks.mobilenet_v2 import (
    IMAGENET_STAGES,
    LAST_CHANNELS,
    InvertedResidual,
    MobileNetV2,
    Stage,
    mobilenet_v2,
)

__all__ = ["IMAGENET_STAGES", "LAST_CHANNELS", "InvertedResidual", "MobileNetV2", "Stage", "mobilenet_v2"]
