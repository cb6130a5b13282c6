"""Converted networks beside dense torch: the same steps for both, and what each changed."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytest
import sparsebp
import torch
from networks import Size, batch, relative_error
from sparsebp import SparseModel
from torch import nn
from torch.nn.functional import cross_entropy

plans = pytest.mark.parametrize("sums", [False, True], ids=["in place", "gradient sums"])


def convert(model: nn.Module, size: Size, sums: bool, **settings: Any) -> SparseModel:
    """Converted in the smallest budget that holds all of it."""
    gradients = "sum" if sums else "in_place"
    settings = {"input_size": size, "batch_size": 2, "ratios": {"*": 1.0}, "gradients": gradients, **settings}
    need = sparsebp.plan(model, "1GB", **settings).peak_bytes
    converted = sparsebp.convert(model, need, **settings).train()
    assert converted.plan.gradient_sums is sums
    return converted


def dense(model: nn.Module) -> nn.Module:
    """The same network in plain torch and float64: frozen batch norms whose shifts train."""
    out = copy.deepcopy(model).double().eval()
    for module in out.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
    return out


def values(model: nn.Module, names: Iterable[str]) -> dict[str, torch.Tensor]:
    parameters = dict(model.named_parameters())
    return {n: parameters[n].detach().clone() for n in names}


def dense_gradients(reference: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    named = {n: p for n, p in reference.named_parameters() if p.requires_grad}
    loss = cross_entropy(reference(x.double()), y)
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def rates(reference: nn.Module, size: Size, share: float, seed: int = 99) -> dict[str, float]:
    """A learning rate for each parameter with which batch ``seed`` changes it by ``share`` of its norm.

    With one rate for all, a random network's first layers explode while its last ones stand still.
    """
    grads = dense_gradients(reference, *batch(size, seed=seed))
    return {n: share * (p.norm() / grads[n].norm()).item() for n, p in values(reference, grads).items()}


def groups(model: nn.Module, rate: dict[str, float], **rule: Any) -> list[dict[str, Any]]:
    parameters = dict(model.named_parameters())
    return [{"params": [parameters[n]], "lr": lr, **rule} for n, lr in rate.items()]


def step(model: nn.Module, opt: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    loss = cross_entropy(model(x.to(next(model.parameters()).dtype)), y)
    loss.backward()
    opt.step()
    opt.zero_grad()
    return loss.item()


def assert_follows(model: nn.Module, reference: nn.Module, start: dict[str, torch.Tensor], limit: float) -> None:
    """What training changed is the same, in each parameter and in all together."""
    got, expected = values(model, start), values(reference, start)
    changed = {n: got[n].double() - start[n] for n in start}
    wanted = {n: expected[n] - start[n] for n in start}
    for name in start:
        assert wanted[name].norm() > 0, f"{name} does not train in the reference"
        error = relative_error(changed[name], wanted[name])
        assert error <= limit, f"{name}: relative error {error:.2g}"
    together = [torch.cat([t.flatten() for t in d.values()]) for d in (changed, wanted)]
    assert relative_error(*together) <= limit


def train_both(
    model: SparseModel,
    reference: nn.Module,
    size: Size,
    share: float,
    checks: dict[int, float],
    **rule: Any,
) -> None:
    """The same steps for both; after n of them the relative error is at most ``checks[n]``."""
    rate = rates(reference, size, share)
    start = {n: t.double() for n, t in values(model, rate).items()}
    ours = sparsebp.optim.SGD(groups(model, rate, **rule), lr=0.0)
    torchs = torch.optim.SGD(groups(reference, rate, **rule), lr=0.0)
    for i in range(max(checks)):
        x, y = batch(size, seed=i)
        step(model, ours, x, y)
        step(reference, torchs, x, y)
        if i + 1 in checks:
            assert_follows(model, reference, start, checks[i + 1])


def trains(model: nn.Module, name: str) -> bool:
    return dict(model.named_parameters())[name].requires_grad
