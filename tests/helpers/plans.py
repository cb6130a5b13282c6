"""Plans of a small network, with whatever a plan may hold."""

from __future__ import annotations

from typing import Any

import pytest
import sparsebp
import torch
from networks import tiny_mobilenet
from sparsebp import Plan, samplers
from torch import nn
from training import SIZE

#: Keywords of convert, apart from the budget.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "batch_size": 2,
        "max_update_ratio": 0.5,
        "ratios": {"features.6.*": 0.25, "features.6.0": 0.5},
        "sampler": "importance",
        "resample_every": 3,
        "momentum": True,
        "normalise": True,
        "gradients": "sum",
        "seed": 7,
        "train_bias": False,
    },
    "a sampler with a seed of its own": {"sampler": samplers.Cyclic(5)},
    "a whole step": {"scope": "step"},
    "pictures elsewhere": {"scope": "step", "pictures": "elsewhere", "batch_size": 2},
    "given channels": {"sampler": "static", "seed": 2**63},
}


def planned(budget: int | str = "64KB", **keywords: Any) -> Plan:
    return sparsebp.plan(tiny_mobilenet(), budget, input_size=SIZE, **keywords)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return sparsebp.models.mobilenet_v2(10)
