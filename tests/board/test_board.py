"""What has to work on the board itself: the parts of a training loop, and the same plan and weights as elsewhere.

These tests run on every machine. ``make check-aarch64`` runs them on 64-bit ARM, from the installed wheel, with
``SPARSEBP_REFERENCE`` naming what ``tests/helpers/fifty_steps.py`` wrote on the machine that the wheel was built on.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fifty_steps
import pytest
import sparsebp
import torch
from networks import relative_error
from safetensors import safe_open
from safetensors.torch import load_file
from sparsebp import _C
from sparsebp.networks.mobilenet_v2 import mobilenet_v2
from torch.nn.functional import cross_entropy

FASTEST = {"aarch64": "neon", "x86_64": None}
"""Kernels that every processor of an architecture has; None: that depends on the processor."""


def test_the_kernels_are_those_of_the_architecture() -> None:
    expected = FASTEST[platform.machine()]
    assert _C.usable_isas()[-1] == "scalar"
    assert expected is None or _C.usable_isas()[0] == expected


def test_the_kernels_run_on_torchs_threads(threads: Callable[[int], None]) -> None:
    for count in (3, 1, 2):
        threads(count)
        assert (_C.thread_pool_name(), _C.thread_count()) == ("torch", count)
        with ThreadPoolExecutor(1) as another:
            assert another.submit(_C.thread_count).result() == count


def test_fifty_steps_inside_256_kb_train_what_the_plan_says() -> None:
    before, after, _ = fifty_steps.train()
    plan = sparsebp.plan(fifty_steps.network(None), "256KB", input_size=(3, 96, 96), max_update_ratio=0.02)
    assert plan.peak_bytes <= 256 * 1024
    changed = {name.removesuffix(".weight") for name in after if not torch.equal(before[name], after[name])}
    assert {layer.name for layer in plan.layers} <= changed
    assert all(torch.isfinite(value).all() for value in after.values())


def test_the_plain_network_computes_with_the_weights_that_the_board_saved(tmp_path: Path) -> None:
    model = sparsebp.convert(fifty_steps.network(None), "256KB", input_size=(3, 96, 96))
    optimizer = sparsebp.optim.SGD(model, lr=0.001)
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    cross_entropy(model.train()(images), torch.tensor([0])).backward()
    optimizer.step()
    expected = model.eval()(images)
    torch.save(sparsebp.restore(model).state_dict(), tmp_path / "trained.pt")
    plain = mobilenet_v2(fifty_steps.CLASSES).eval()
    plain.load_state_dict(torch.load(tmp_path / "trained.pt"))
    with torch.no_grad():
        assert relative_error(plain(images), expected) < 1e-4


def test_another_processor_makes_the_same_plan_and_the_same_weights(threads: Callable[[int], None]) -> None:
    """Kernels with fused multiply-add sum in one order on every processor, on any threads: not close, but equal."""
    threads(2)
    reference = os.environ.get("SPARSEBP_REFERENCE")
    if reference is None:
        pytest.skip("SPARSEBP_REFERENCE names no weights that another processor trained")
    weights = os.environ.get("SPARSEBP_DATA")
    before, after, plan = fifty_steps.train(weights and Path(weights) / "mobilenet_v2_imagenet.pt")
    with safe_open(reference, "pt") as file:
        assert file.metadata()["plan"] == plan
    for name, value in load_file(reference).items():
        if not torch.equal(before[name], after[name]):
            assert relative_error(after[name] - before[name], value - before[name]) <= 5e-3, name
            assert torch.equal(after[name], value), f"{name}: within rounding, but other bits"
