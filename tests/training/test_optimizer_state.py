"""``state_dict`` of our optimizer, for parameters that are native and for those that are not."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
import sparsebp
import torch
from networks import batch, residual_network, tiny_mobilenet
from sparsebp import SparseModel
from sparsebp.optim import SGD
from torch import nn
from torch.nn.functional import cross_entropy
from training import (
    BUDGET,
    LARGE,
    SIZE,
    assert_same,
    converted,
    everything,
    one_thread,  # noqa: F401
    step,
)


def test_ordinary_parameters_follow_the_groups_that_were_loaded() -> None:
    layer = nn.Linear(4, 3)
    opt = SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 4)).sum().backward()
    opt.step()
    opt.load_state_dict(opt.state_dict())
    opt.param_groups[0]["lr"] = 0.0
    before = layer.weight.detach().clone()
    opt.step()
    assert torch.equal(layer.weight, before)


def test_the_state_of_a_dense_run_in_torch_can_be_loaded() -> None:
    model = converted()
    dense = torch.optim.SGD(list(model.trained_parameters()), lr=0.5, weight_decay=0.01)
    opt = SGD(model, lr=0.1)
    opt.load_state_dict(dense.state_dict())
    group = opt.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["normalise"]) == (0.5, 0.01, False)
    x, _ = batch(SIZE, 1)
    before = model(x.clone()).detach()
    step(model, opt)
    assert not torch.equal(model(x), before)


# -- what native programs keep --------------------------------------------------------------------

#: How a run may be set up, as settings of convert and of the optimizer.
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "random sets": ({}, {}),
    "sets that stay": ({"resample_every": 4}, {"weight_decay": 0.01}),
    "momentum": ({"momentum": True, "resample_every": 4}, {"momentum": 0.9}),
    "normalised": ({"normalise": True, "momentum": True, "resample_every": 3}, {"momentum": 0.5, "normalise": True}),
    "running norms": ({"sampler": "importance", "budget": 2 * BUDGET, "ratios": {"features.[4-6].*": 0.5}}, {}),
    "largest norms": ({"sampler": "top-k", "budget": 2 * BUDGET, "ratios": {"features.[4-6].*": 0.5}}, {}),
    "rounds": ({"sampler": "cyclic", "seed": 5}, {}),
    "a set for ever": ({"sampler": "static", "seed": 9}, {}),
    "a sampler's own seed": ({"sampler": sparsebp.samplers.Random(3), "seed": 8}, {}),
    "sums": ({"gradients": "sum", "budget": LARGE, "momentum": True, "resample_every": 2}, {"momentum": 0.9}),
    "normalised sums": ({"gradients": "sum", "budget": LARGE, "normalise": True}, {"normalise": True}),
    "micro-batches": ({"batch_size": 2, "budget": 2 * BUDGET}, {}),
}
runs = pytest.mark.parametrize("run", RUNS)


def begun(run: str) -> tuple[SparseModel, SGD]:
    """A model with dropout, freshly converted, and its optimizer with groups of their own."""
    settings, rules = RUNS[run]
    settings = {"budget": BUDGET, "input_size": SIZE, **settings}
    model = sparsebp.convert(tiny_mobilenet(dropout=0.3), **settings).train()
    head = [p for p in model.trained_parameters() if p.shape[0] == 10]
    rest = [p for p in model.trained_parameters() if p.shape[0] != 10]
    groups = [{"params": rest, "lr": 0.01}, {"params": head, "lr": 0.02}]
    return model, SGD(groups, lr=0.01, **rules)


def go_on(model: SparseModel, opt: SGD, schedule: Any, first: int, count: int) -> list[float]:
    losses = []
    for i in range(first, first + count):
        x, y = batch(SIZE, 3, seed=i)
        losses.append(sparsebp.fit_step(model, opt, x, y, cross_entropy))
        schedule.step()
    return losses


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("steps", [1, 5, 18])
@runs
def test_a_run_that_is_resumed_from_state_dicts_goes_on_to_the_bit(run: str, steps: int) -> None:
    """Into a model that is freshly converted, as in another process."""
    model, opt = begun(run)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=30)
    go_on(model, opt, schedule, 0, steps)
    kept = through_a_file([o.state_dict() for o in (model, opt, schedule)])
    expected = go_on(model, opt, schedule, steps, 7)

    other, other_opt = begun(run)
    other_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(other_opt, T_max=30)
    for thing, state in zip((other, other_opt, other_schedule), kept, strict=True):
        thing.load_state_dict(state)
    assert go_on(other, other_opt, other_schedule, steps, 7) == expected
    assert_same(everything(other), everything(model))
    assert other.coverage() == model.coverage()
    assert [g["lr"] for g in other_opt.param_groups] == [g["lr"] for g in opt.param_groups]


def test_without_the_optimizers_state_it_would_not() -> None:
    """The test above would prove little otherwise."""
    model, opt = begun("momentum")
    schedule = torch.optim.lr_scheduler.ConstantLR(opt)
    go_on(model, opt, schedule, 0, 5)
    other, other_opt = begun("momentum")
    other.load_state_dict(model.state_dict())
    assert go_on(other, other_opt, schedule, 5, 3) != go_on(model, opt, schedule, 5, 3)


def test_it_is_tensors_on_the_processor_and_plain_data() -> None:
    model, opt = begun("normalised")
    go_on(model, opt, torch.optim.lr_scheduler.ConstantLR(opt), 0, 3)

    def look(thing: Any) -> None:
        if isinstance(thing, dict):
            assert all(isinstance(key, (str, int)) for key in thing)
            for value in thing.values():
                look(value)
        elif isinstance(thing, (list, tuple)):
            for value in thing:
                look(value)
        else:
            assert isinstance(thing, (torch.Tensor, int, float, str, bool, type(None)))
            assert not isinstance(thing, torch.Tensor) or thing.device.type == "cpu"

    state = opt.state_dict()
    look(state)
    (kept,) = (entry["program"] for entry in state["state"].values())
    assert kept["steps"] == 3
    assert kept["regions"]["momentum"].dtype == torch.float32
    assert kept["regions"]["indices"].dtype == torch.int32
    assert pickle.loads(pickle.dumps(state)).keys() == state.keys()
    go_on(model, opt, torch.optim.lr_scheduler.ConstantLR(opt), 3, 1)
    assert kept["steps"] == 3, "what was saved must not follow the run"


def test_sums_that_wait_for_their_step_are_kept() -> None:
    x, y = batch(SIZE, 1)
    model, opt = begun("sums")
    cross_entropy(model(x), y).backward()
    other, other_opt = begun("sums")
    other.load_state_dict(model.state_dict())
    other_opt.load_state_dict(through_a_file(opt.state_dict()))
    for optimizer in (opt, other_opt):
        optimizer.step()
        optimizer.zero_grad()
    assert_same(model.state_dict(), other.state_dict())
    assert model.engine.state() == other.engine.state()
    assert model.engine.steps == 1


def test_two_models_and_ordinary_parameters_share_an_optimizer() -> None:
    def make() -> tuple[list[SparseModel], nn.Module, SGD]:
        torch.manual_seed(0)
        models, last = [converted(), converted(net_seed=1)], nn.Linear(10, 10)
        params = [*models[0].trained_parameters(), *last.parameters(), *models[1].trained_parameters()]
        return models, last, SGD([{"params": params[:5]}, {"params": params[5:]}], lr=0.01, normalise=False)

    def train(models: list[SparseModel], last: nn.Module, opt: SGD, first: int) -> list[float]:
        losses = []
        for i in range(first, first + 4):
            x, y = batch(SIZE, 1, seed=i)
            loss = cross_entropy(last(models[0](x)) + models[1](x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            losses.append(loss.item())
        return losses

    models, last, opt = make()
    train(models, last, opt, 0)
    kept = through_a_file([*(m.state_dict() for m in (*models, last)), opt.state_dict()])
    others, other_last, other_opt = make()
    for thing, state in zip((*others, other_last, other_opt), kept, strict=True):
        thing.load_state_dict(state)
    assert train(others, other_last, other_opt, 4) == train(models, last, opt, 4)
    for a, b in zip(others, models, strict=True):
        assert_same(everything(a), everything(b))


@pytest.mark.parametrize("sampler", ["random", "cyclic", "importance", "top-k", "static"])
def test_replaced_convolutions_go_on_too(sampler: str) -> None:
    def make() -> tuple[nn.Module, SGD]:
        model = residual_network()
        sparsebp.nn.replace(model, "*body*", 0.4, sampler=sampler)
        return model, SGD(model.parameters(), lr=0.01, weight_decay=0.01)

    def train(model: nn.Module, opt: SGD, first: int) -> list[float]:
        losses = []
        for i in range(first, first + 5):
            x, y = batch((3, 20, 16), 2, seed=i)
            loss = cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            losses.append(loss.item())
        return losses

    model, opt = make()
    train(model, opt, 0)
    kept = through_a_file([model.state_dict(), opt.state_dict()])
    other, other_opt = make()
    other.load_state_dict(kept[0])
    other_opt.load_state_dict(kept[1])
    assert train(other, other_opt, 5) == train(model, opt, 5)
    assert_same(everything(other), everything(model))
    wrong = residual_network()
    sparsebp.nn.replace(wrong, "*body*", 0.8, sampler=sampler)
    with pytest.raises(ValueError, match="another plan: channels of"):
        SGD(wrong.parameters(), lr=0.01).load_state_dict(kept[1])
