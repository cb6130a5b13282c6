"""What torch computes for a comparison is float32, also on a GPU, where convolutions otherwise are TF32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from odd_networks import Calls, classify, plan
from sparsebp.capture.precision import exact_float32
from training import one_thread  # noqa: F401


def precision() -> tuple[Any, ...]:
    backends: Any = torch.backends
    if hasattr(getattr(backends.cudnn, "conv", None), "fp32_precision"):
        return backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision
    return backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32


def is_exact() -> bool:
    return set(precision()) <= {"ieee", False}


def test_convolutions_and_products_are_exact_inside_and_as_before_afterwards() -> None:
    before = precision()
    with exact_float32():
        assert is_exact()
    assert precision() == before


def test_settings_come_back_after_an_error() -> None:
    before = precision()
    with pytest.raises(KeyError), exact_float32():
        raise KeyError
    assert precision() == before


def test_a_network_is_read_and_compared_in_float32() -> None:
    """TF32 differs from float32 by more than the comparison allows: pretrained MobileNetV2 was refused on a GPU."""
    seen: list[bool] = []

    def watched(m: Calls, x: torch.Tensor) -> torch.Tensor:
        if isinstance(x, torch.Tensor):  # tracing computes nothing
            seen.append(is_exact())
        return classify(m, m.conv(x))

    before = precision()
    plan(Calls(watched))
    assert seen
    assert all(seen)
    assert precision() == before
