"""What docs/memory.md says of memory: features 98 % less than dense, all of a step 98.9 % and more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "bench"))

import memory


@pytest.mark.parametrize(("size", "all_less"), [(128, 0.989), (129, 0.989), (224, 0.996)])
def test_a_step_holds_a_fiftieth_of_the_features_and_a_hundredth_of_all(size: int, all_less: float) -> None:
    measured = memory.measure(size)
    assert measured.features <= 0.02 * measured.inputs
    assert measured.sparse <= (1 - all_less) * measured.dense
    assert measured.literature[0] == measured.features
    assert f"| {size} | {measured.inputs:,} |" in memory.table([measured])


def test_inputs_are_counted_convolution_by_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1), nn.Flatten(), nn.Linear(2 * 16, 3))
    assert memory.convolution_inputs(model, torch.zeros(1, 3, 6, 6)) == 4 * (3 * 36 + 5 * 16)
    assert not any(m._forward_pre_hooks for m in model.modules())
