"""``sparsebp.optim.SGD`` as a torch optimizer: schedulers, closures, momentum, clipping, other parameters."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import batch
from parameters import changed, weights
from sparsebp.optim import SGD
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler
from training import (
    BUDGET,
    LARGE,
    SIZE,
    assert_same,
    assert_trains,
    converted,
    everything,
    one_thread,  # noqa: F401
    step,
)

X, Y = batch(SIZE, 1)
budgets = pytest.mark.parametrize("budget", [BUDGET, LARGE], ids=["in-place", "sums"])


# -- schedulers, closures, checkpoints ------------------------------------------------------------

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda opt: lr_scheduler.StepLR(opt, step_size=2, gamma=0.5),
    "CosineAnnealingLR": lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=5),
    "LinearLR": lambda opt: lr_scheduler.LinearLR(opt, total_iters=3),
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES.keys())
@budgets
def test_a_scheduler_sets_the_rate_of_the_next_step(budget: int, make: Callable[[Any], Any]) -> None:
    model, manual = converted(budget), converted(budget)
    opt, by_hand = SGD(model, lr=0.1), SGD(manual, lr=0.1)
    torch_opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule, expected = make(opt), make(torch_opt)
    rates = []
    for i in range(5):
        rates.append(torch_opt.param_groups[0]["lr"])
        by_hand.param_groups[0]["lr"] = rates[-1]
        step(model, opt, seed=i)
        step(manual, by_hand, seed=i)
        torch_opt.step()
        schedule.step()
        expected.step()
    assert len(set(rates)) > 1
    assert_same(everything(model), everything(manual))


@budgets
def test_a_closure_is_evaluated_and_its_loss_returned(budget: int) -> None:
    model, twin = converted(budget), converted(budget)
    opt = SGD(model, lr=0.05)

    def closure() -> float:
        opt.zero_grad()
        loss = cross_entropy(model(X), Y)
        loss.backward()
        return loss.item()

    loss = opt.step(closure)
    assert loss == step(twin, SGD(twin, lr=0.05))
    assert_same(everything(model), everything(twin))


def test_a_checkpoint_of_the_optimizer_brings_the_rate_back() -> None:
    model = converted()
    opt = SGD(model, lr=0.05, weight_decay=0.01)
    saved = opt.state_dict()
    other = SGD(model, lr=0.0)
    other.load_state_dict(saved)
    assert (other.param_groups[0]["lr"], other.param_groups[0]["weight_decay"]) == (0.05, 0.01)
    assert_trains(model, other)


# -- momentum -------------------------------------------------------------------------------------


def test_momentum_that_the_plan_reserved_carries_the_update_on() -> None:
    """With a constant gradient the second step is 1 + momentum times the first."""
    settings = {"momentum": True, "resample_every": 100, "ratios": {"classifier.1": 1.0}}
    model = converted(LARGE, **settings)
    opt = SGD([model.classifier[1].bias], lr=1e-3, momentum=0.5)
    bias = model.classifier[1].bias
    moves = []
    for _ in range(2):
        before = bias.detach().clone()
        (model(X) * torch.arange(10.0)).sum().backward()
        opt.step()
        opt.zero_grad()
        moves.append(bias.detach() - before)
    torch.testing.assert_close(moves[0], -1e-3 * torch.arange(10.0), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(moves[1], 1.5 * moves[0], rtol=1e-3, atol=1e-6)


# -- gradient sums --------------------------------------------------------------------------------


def test_clipping_where_updates_are_applied_in_place_raises() -> None:
    model = converted()
    opt = SGD(model, lr=0.05)
    cross_entropy(model(X), Y).backward()
    before = everything(model)
    with pytest.raises(RuntimeError, match=r"plan\.gradient_sums"):
        opt.clip_grad_norm_(1.0)
    assert_same(everything(model), before)
    opt.step()
    assert_trains(model, opt)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_a_norm_to_clip_at_must_be_positive(max_norm: float) -> None:
    model = converted(LARGE)
    opt = SGD(model, lr=0.05)
    with pytest.raises(ValueError, match="max_norm"):
        opt.clip_grad_norm_(max_norm)


def test_clipping_scales_the_update_to_the_norm() -> None:
    updates, returned = [], []
    for factor in (None, 0.25, 4.0):
        model = converted(LARGE, ratios={"*": 1.0})
        opt = SGD(model, lr=1.0)
        before = weights(model)
        cross_entropy(model(X), Y).backward()
        if factor is not None:
            returned.append(opt.clip_grad_norm_(factor * returned[0]))
        else:
            returned.append(opt.clip_grad_norm_(math.inf))
        opt.step()
        updates.append(torch.cat([(p - before[n]).flatten() for n, p in model.named_parameters()]))
    norm = updates[0].norm().item()
    assert returned == pytest.approx([norm] * 3, rel=1e-3)
    assert updates[1].norm().item() == pytest.approx(norm / 4, rel=1e-3)
    torch.testing.assert_close(updates[1], updates[0] / 4, rtol=1e-2, atol=1e-5 * norm)
    assert torch.equal(updates[2], updates[0])


@pytest.mark.parametrize("options", [{}, {"set_to_none": False}], ids=["None", "zero"])
@pytest.mark.parametrize("of", ["optimizer", "model"])
def test_gradient_sums_add_up_and_zero_grad_forgets_them(of: str, options: dict[str, bool]) -> None:
    models = [converted(LARGE) for _ in range(3)]
    opts = [SGD(m, lr=0.05) for m in models]
    for model, opt, times in zip(models, opts, (1, 2, 1), strict=True):
        for _ in range(times):
            (cross_entropy(model(X), Y) / times).backward()
        if model is models[2]:
            (opt if of == "optimizer" else model).zero_grad(**options)
        opt.step()
    once, twice, never = (weights(m) for m in models)
    fresh = weights(converted(LARGE))
    assert_same(never, fresh)
    for name, value in once.items():
        torch.testing.assert_close(twice[name] - fresh[name], value - fresh[name], rtol=1e-3, atol=1e-6)


# -- parameters that torch trains -----------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers", [{}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.1}, {"weight_decay": 0.1}], ids=str
)
def test_ordinary_parameters_in_the_same_optimizer_train_like_torchs(numbers: dict[str, float]) -> None:
    """A torch layer behind a converted model; momentum is its group's own and needs no reservation."""
    results = []
    for ours in (True, False):
        torch.manual_seed(0)
        model, last = converted(), nn.Linear(10, 10)
        groups = [{"params": list(model.trained_parameters())}]
        if ours:
            opts = [SGD([*groups, {"params": last.parameters(), **numbers}], lr=0.05)]
        else:
            opts = [SGD(groups, lr=0.05), torch.optim.SGD(last.parameters(), lr=0.05, **numbers)]
        for i in range(4):
            x, y = batch(SIZE, 1, seed=i)
            cross_entropy(last(model(x)), y).backward()
            for opt in opts:
                opt.step()
                opt.zero_grad()
        assert last.weight.grad is None
        results.append((weights(last), weights(model)))
    for a, b in zip(*results, strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6)


def test_it_trains_a_model_without_a_converted_one() -> None:
    torch.manual_seed(0)
    models = [nn.Linear(4, 3), nn.Linear(4, 3)]
    models[1].load_state_dict(models[0].state_dict())
    for model, make in zip(models, (SGD, torch.optim.SGD), strict=True):
        opt = make(model.parameters(), lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            model(torch.ones(2, 4)).square().sum().backward()
            opt.step()
    torch.testing.assert_close(models[0].weight, models[1].weight)


def test_parameters_outlive_the_converted_model_that_owned_them() -> None:
    model = converted()
    original = model.original
    del model
    gc.collect()
    original.requires_grad_(True).eval()
    opt = SGD(original.parameters(), lr=0.05)
    before = weights(original)
    cross_entropy(original(X), Y).backward()
    opt.step()
    assert "features.0.0.weight" in changed(original, before)


def test_clipping_counts_the_gradients_of_ordinary_parameters() -> None:
    last = nn.Linear(4, 3)
    opt = SGD(last.parameters(), lr=0.1)
    last(torch.ones(2, 4)).square().sum().backward()
    norm = torch.cat([p.grad.flatten() for p in last.parameters()]).norm().item()
    assert opt.clip_grad_norm_(norm / 2) == pytest.approx(norm)
    assert torch.cat([p.grad.flatten() for p in last.parameters()]).norm().item() == pytest.approx(norm / 2)
