"""Networks that are saved and restored: behind a prefix in torch or none, with dropout or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sparsebp
import torch
from networks import Size, batch, conv_norm, randomize_norms, residual_network, tiny_mobilenet
from sparsebp import SparseModel
from torch import nn
from training import step

State = dict[str, torch.Tensor]


def torch_first(seed: int = 0) -> nn.Module:
    """An LPPool2d has no native counterpart: what comes before the second convolution runs in torch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = [conv_norm(3, 9), nn.LPPool2d(2, 2), conv_norm(9, 17, groups=1), conv_norm(17, 20, 1)]
        model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 10))
    return randomize_norms(model, seed)


def with_dropout(seed: int = 0) -> nn.Module:
    return tiny_mobilenet(seed, dropout=0.3)


#: Network, image size, budget: one behind a frozen prefix, one of which everything trains.
NETWORKS: dict[str, tuple[Callable[..., nn.Module], Size, int]] = {
    "inverted residuals": (with_dropout, (3, 16, 16), 16 * 1024),
    "residual network": (residual_network, (3, 20, 16), 1024 * 1024),
    "torch prefix": (torch_first, (3, 12, 12), 64 * 1024),
}
networks = pytest.mark.parametrize("kind", NETWORKS)


def make(kind: str, seed: int = 0, **settings: Any) -> SparseModel:
    network, size, budget = NETWORKS[kind]
    return sparsebp.convert(network(seed), budget, input_size=size, **settings).train()


def trained(kind: str, seed: int = 0, steps: int = 3, **settings: Any) -> SparseModel:
    model = make(kind, seed, **settings)
    opt = sparsebp.optim.SGD(model, lr=0.01)
    for i in range(steps):
        step(model, opt, seed=i)
    return model


def original(kind: str, seed: int = 0) -> nn.Module:
    return NETWORKS[kind][0](seed).eval()


def output(model: nn.Module, kind: str) -> torch.Tensor:
    """In evaluation mode."""
    training = model.training
    with torch.no_grad():
        y = model.eval()(batch(NETWORKS[kind][1], 3, seed=50)[0])
    model.train(training)
    return y


def assert_equal(state: State, expected: State) -> None:
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert state[name].shape == value.shape, name
        assert state[name].dtype == value.dtype, name
        assert torch.equal(state[name], value), name


def go_on(model: SparseModel, steps: int = 5) -> list[float]:
    opt = sparsebp.optim.SGD(model, lr=0.01, momentum=0.5 if model.plan.momentum else 0.0)
    return [step(model, opt, seed=10 + i) for i in range(steps)]
