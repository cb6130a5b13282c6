"""Copies of ``SparseConv2d``, its state and its type."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from sparse_modules import OPTIMIZERS, convolution, images, optimizers
from sparsebp.nn import SparseConv2d
from torch import nn
from training import one_thread  # noqa: F401


def through_torch_save(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), through_torch_save],
    ids=["deepcopy", "pickle", "torch.save"],
)
@optimizers
def test_a_copy_is_independent_and_trains(
    make: Callable[..., torch.optim.Optimizer], duplicate: Callable[[nn.Module], nn.Module]
) -> None:
    model = nn.Sequential(SparseConv2d(convolution(), 0.5), nn.ReLU(), SparseConv2d(nn.Conv2d(12, 4, 1), 0.5))
    x = images(1, 8, 5, 5)
    model(x).sum().backward()
    model.zero_grad()
    twin = duplicate(model)
    expected = model.eval()(x)
    assert torch.equal(twin.eval()(x), expected)
    twin.train()
    opt = make(twin.parameters())
    twin(x).square().sum().backward()
    opt.step()
    assert not torch.equal(twin.eval()(x), expected)
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("sampler", ["random", "cyclic", "importance"])
@pytest.mark.parametrize("make", [OPTIMIZERS["SGD"], OPTIMIZERS["sparsebp"]], ids=["torch's", "ours"])
def test_a_copy_goes_on_with_the_draws_of_its_source(make: Callable[..., torch.optim.Optimizer], sampler: str) -> None:
    layer = SparseConv2d(convolution(), 0.25, sampler=sampler)
    opt = make(layer.parameters())
    for i in range(3):
        layer(images(1, 8, 5, 5, seed=i)).square().sum().backward()
        opt.step()
        opt.zero_grad()
    twin = copy.deepcopy(layer)
    other = make(twin.parameters())
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    for i in range(6):
        for module, optimizer in ((layer, opt), (twin, other)):
            module(images(1, 8, 5, 5, seed=10 + i)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert torch.equal(twin.channels, layer.channels)
    assert torch.equal(twin.weight, layer.weight)


def test_its_state_dict_is_the_convolutions() -> None:
    layer, conv = SparseConv2d(convolution(), 0.5), convolution(seed=1)
    layer.load_state_dict(conv.state_dict())
    assert torch.equal(layer.weight, conv.weight)
    conv.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(images(1, 8, 5, 5)), conv(images(1, 8, 5, 5)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_its_type_may_change(dtype: torch.dtype) -> None:
    layer, dense = SparseConv2d(convolution(), 1.0), convolution().to(dtype)
    layer(images(1, 8, 5, 5)).sum().backward()
    layer.zero_grad()
    layer.to(dtype)
    x = images(1, 8, 5, 5, dtype=dtype)
    layer(x).square().sum().backward()
    dense(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, dense.weight.grad, rtol=1e-4, atol=1e-4)
