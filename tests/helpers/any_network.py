"""Any network, converted in float64 beside the same network in plain torch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import slim_networks
import sparsebp
import torch
import user_networks
from networks import relative_error
from sparsebp import SparseModel
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

NETWORKS = {**slim_networks.NETWORKS, **{f"user.{n}": entry for n, entry in user_networks.NETWORKS.items()}}
BATCH = 2
#: Of a parameter's gradient beside the largest one's, below which it is rounding: a bias in front of a norm has none.
NEGLIGIBLE = 1e-11


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """In float64 and evaluation mode, nothing random in training mode, and far from what a fresh one is like."""
    make, size = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = without_noise(make()).double()
        return stirred(model, size), size


def without_noise(model: nn.Module) -> nn.Module:
    """Dropout and stochastic depth drop nothing."""
    for module in model.modules():
        for rate in ("p", "drop_prob", "drop_rate"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    return model


def stirred(model: nn.Module, size: Sequence[int]) -> nn.Module:
    """Scales and shifts around 1 and 0, some scales negative, and the statistics of random inputs."""
    momentum: dict[nn.Module, float | None] = {}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                momentum[module], module.momentum = module.momentum, 1.0
        for name, parameter in model.named_parameters():
            if parameter.numel() == max(parameter.shape, default=1):  # one number a channel, whatever its shape
                drawn = torch.rand(parameter.shape)
                if name.rpartition(".")[2] in ("bias", "beta"):
                    parameter.copy_(0.6 * drawn - 0.3)
                else:
                    parameter.copy_(torch.where(drawn < 0.1, -0.5 - drawn, 0.5 + drawn))
        model.train()(torch.randn(8, *size).double())
    for module, value in momentum.items():
        module.momentum = value
    return model.eval()


def converted(model: nn.Module, size: Sequence[int], ratio: float, **settings: Any) -> SparseModel:
    """In the smallest budget that trains so much of every layer."""
    settings = {"input_size": tuple(size), "batch_size": BATCH, "ratios": {"*": ratio}, **settings}
    made = sparsebp.plan(model, "4GB", **settings)
    return sparsebp.convert(model, made.peak_bytes, **settings).train()


def inputs(size: Sequence[int], seed: int) -> torch.Tensor:
    return torch.randn(BATCH, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tensors(output: Any) -> list[torch.Tensor]:
    """Those that a network returned, in order, whatever they are wrapped in."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]


def loss(output: Any, seed: int) -> torch.Tensor:
    """Mean square distance from random targets, over all outputs."""
    generator = torch.Generator().manual_seed(seed + 1000)
    targets = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in tensors(output)]
    return torch.stack([(t - y).square().mean() for t, y in zip(tensors(output), targets, strict=True)]).sum()


def output_error(got: Any, expected: Any) -> float:
    """The largest relative error of any output."""
    pairs = zip(tensors(got), tensors(expected), strict=True)
    return max(relative_error(a, b) for a, b in pairs)


def reference(model: nn.Module, trained: Iterable[str]) -> nn.Module:
    """A copy that plain torch trains: statistics frozen, and only these parameters change."""
    twin = copy.deepcopy(model).eval()
    names = set(trained)
    for name, parameter in twin.named_parameters():
        parameter.requires_grad_(name in names)
    return twin


@contextmanager
def exact_hard_sigmoid() -> Iterator[None]:
    """torch's own goes back through a sixth that is rounded to float32, in float64 too."""
    own = functional.hardsigmoid
    functional.hardsigmoid = lambda x, inplace=False: functional.relu6(x + 3) / 6  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.hardsigmoid = own


def gradients(model: nn.Module, x: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """By name, of whatever trains; zeros where nothing arrives."""
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with exact_hard_sigmoid():
        found = torch.autograd.grad(loss(model(x), seed), list(named.values()), allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(named.items(), found, strict=True)}


def rates(model: nn.Module, x: torch.Tensor, seed: int, share: float) -> dict[str, float]:
    """A learning rate for each parameter with which it changes by ``share`` of its norm, 0 where it has no gradient.

    With one rate for all, a random network's first layers explode while its last ones stand still.
    """
    found = gradients(model, x, seed)
    least = NEGLIGIBLE * max(float(g.norm()) for g in found.values())
    norms = {n: float(p.detach().norm()) for n, p in model.named_parameters()}
    return {n: share * norms[n] / float(g.norm()) if g.norm() > least else 0.0 for n, g in found.items()}


def groups(model: nn.Module, rate: dict[str, float]) -> list[dict[str, Any]]:
    parameters = dict(model.named_parameters())
    return [{"params": [parameters[n]], "lr": lr} for n, lr in rate.items()]


def train_step(model: nn.Module, opt: torch.optim.Optimizer, x: torch.Tensor, seed: int) -> None:
    with exact_hard_sigmoid():
        loss(model(x), seed).backward()
    opt.step()
    opt.zero_grad()


def channel_mask(layer: nn.Module, channels: torch.Tensor) -> torch.Tensor:
    """Which weights of a convolution or linear layer belong to these input channels."""
    mask = torch.zeros_like(layer.weight, dtype=torch.bool)
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        mask[channels] = True
        return mask
    per_group, outputs = layer.weight.shape[1], layer.weight.shape[0] // getattr(layer, "groups", 1)
    for c in channels.tolist():
        first = c // per_group * outputs
        mask[first : first + outputs, c % per_group] = True
    return mask
