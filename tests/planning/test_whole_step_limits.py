"""What budgets of a whole step are not for, and copies of models that have one."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from sparsebp import UnsupportedModel
from sparsebp.planning.choice import by_names
from torch import nn
from training import SIZE, assert_same, everything, one_thread, sgd, step  # noqa: F401


def test_a_network_of_which_torch_runs_a_part_has_no_such_plan() -> None:
    tail = [nn.Conv2d(8, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LPPool2d(2, 2), *tail)
    sparsebp.plan(net, "64KB", input_size=SIZE)
    for refuse in (sparsebp.plan, sparsebp.convert):
        with pytest.raises(UnsupportedModel, match=r"scope: .* runs natively; only torch runs LPPool2d"):
            refuse(net, "64KB", input_size=SIZE, scope="step")
    with pytest.raises(UnsupportedModel, match="scope: "):
        sparsebp.min_budget(net, input_size=SIZE, scope="step")


@pytest.mark.parametrize("value", ["all", "Step", "", None, 3, True, ["step"]])
def test_an_unknown_scope_or_place_of_pictures_is_refused(value: Any) -> None:
    net = tiny_mobilenet()
    before = everything(net)
    for name, expected in (("scope", "training or step"), ("pictures", "arena or elsewhere")):
        for refuse in (sparsebp.plan, sparsebp.convert):
            with pytest.raises(ValueError, match=f"^{name}: expected {expected}, got "):
                refuse(net, "64KB", input_size=SIZE, **{name: value})
    assert_same(everything(net), before)


def test_between_a_forward_pass_and_its_backward_pass_nothing_else_runs() -> None:
    model = sparsebp.convert(tiny_mobilenet(), "32KB", input_size=SIZE, scope="step").train()
    opt = sgd(model)
    x, _ = batch(SIZE, 1)
    out = model(x)
    with torch.no_grad(), pytest.raises(RuntimeError, match="a training forward pass still waits for its backward"):
        model.eval()(x)
    out.sum().backward()
    model(x)
    out = model.train()(x)
    del out  # so that nobody can go back through it
    model.eval()(x)
    step(model.train(), opt)


def test_copies_and_pickles_train_on_as_the_model_does() -> None:
    options = {"input_size": SIZE, "scope": "step", "batch_size": 2, "momentum": True, "sampler": "importance"}
    model = sparsebp.convert(tiny_mobilenet(), "32KB", **options).train()
    step(model, sgd(model, momentum=0.9))
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    step(model, sgd(model, momentum=0.9), seed=3)
    for twin in twins:
        assert twin.plan == model.plan
        step(twin, sgd(twin, momentum=0.9), seed=3)
        assert_same(everything(twin), everything(model))
        assert (twin.arena.peak, twin.workspace.peak) == (model.plan.peak_bytes, 0)


def test_a_choice_that_knows_no_scope_is_one_of_training() -> None:
    """As checkpoints keep them that were written before there was a choice."""
    plan = sparsebp.plan(tiny_mobilenet(), "32KB", input_size=SIZE)
    named = plan.choice.named(plan.network)
    for name in ("scope", "pictures", "pieces"):
        del named[name]
    assert by_names(json.loads(json.dumps(named)), plan.network) == plan.choice


def test_no_plan_takes_less_than_the_smallest_budget() -> None:
    """Here windows of five rows in an image of six: strips hold fewer bytes than the image, and lie worse."""
    settings = {"input_size": (4, 6, 14), "batch_size": 2, "scope": "step", "ratios": {"*": 0.3}}
    wide = nn.Conv2d(12, 12, 5, 1, 2, groups=12, bias=False)
    net = _Squashed(nn.Sequential(nn.Conv2d(4, 12, 1), nn.ReLU6(), wide, nn.ReLU6(), nn.Conv2d(12, 4, 1)))
    taken = sparsebp.plan(net, "1GB", **settings).peak_bytes
    assert sparsebp.min_budget(net, **settings) <= taken
    assert sparsebp.plan(net, taken, **settings).peak_bytes <= taken


class _Squashed(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.last = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x + self.block(x)
        y = y * nn.functional.relu6(y + 3) / 6
        return self.last(torch.cat([nn.functional.pixel_unshuffle(x, 2).mean((2, 3)), y.mean((2, 3))], 1))
