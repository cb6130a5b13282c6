"""A ``state_dict`` of our optimizer that does not fit is refused with what differs, and changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import sparsebp
import torch
from sparsebp.optim import SGD
from training import (
    BUDGET,
    LARGE,
    assert_same,
    converted,
    everything,
    one_thread,  # noqa: F401
    step,
)

ANOTHER = ".* was .*, here it is .*; expected the same model, budget and settings"
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "budget": ({"budget": 2 * BUDGET}, r"channels of features\.\S+ was \d+, here it is \d+"),
    "ratios": ({"ratios": {"classifier.1": 0.5}}, r"channels of \S+ was \d+, here it is \d+"),
    "momentum": ({"momentum": True}, ANOTHER),
    "gradients": (
        {"gradients": "sum", "budget": LARGE},
        ANOTHER,
    ),
    "micro-batch": (
        {"batch_size": 2, "budget": 2 * BUDGET},
        ANOTHER,
    ),
    "biases": ({"train_bias": False}, ANOTHER),
    "sampler": ({"sampler": "cyclic"}, "sampler was Random, here it is Cyclic"),
    "seed": ({"seed": 1}, "seed of the sampler was 0, here it is 1"),
    "seed of dropout": ({"sampler": sparsebp.samplers.Random(0), "seed": 1}, "seed was 0, here it is 1"),
    "draws": ({"resample_every": 2}, "resample_every was 1, here it is 2"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_state_of_another_plan_is_refused_with_what_differs(other: str) -> None:
    model = converted()
    opt = SGD(model, lr=0.05)
    step(model, opt)
    settings, reason = OTHERS[other]
    target = converted(**settings)
    optimizer = SGD(target, lr=0.3)
    step(target, optimizer)
    before, groups = everything(target), copy.deepcopy([{**g, "params": 0} for g in optimizer.param_groups])
    with pytest.raises(ValueError, match=f"state: it was saved under another plan: {reason}"):
        optimizer.load_state_dict(opt.state_dict())
    assert_same(everything(target), before)
    assert [{**g, "params": 0} for g in optimizer.param_groups] == groups
    step(target, optimizer)


def damage(state: dict[str, Any], how: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    how(next(iter(state["state"].values()))["program"])
    return state


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no regions": lambda p: p.pop("regions"),
    "a region less": lambda p: p["regions"].popitem(),
    "a region too short": lambda p: p["regions"].update(indices=p["regions"]["indices"][:-1]),
    "channels that do not exist": lambda p: p["regions"]["indices"].fill_(10**6),
    "no turn": lambda p: p.pop("turn"),
    "a turn that is none": lambda p: p.update(turn="many"),
    "a negative turn": lambda p: p.update(turn=-1),
    "no plan": lambda p: p.pop("plan"),
    "another type": lambda p: p["regions"].update(indices=p["regions"]["indices"].to(torch.bfloat16)),
    "bytes as text": lambda p: p["regions"].update(indices="0123"),
}


def test_a_program_that_is_none_is_refused() -> None:
    opt = SGD(converted(), lr=0.05)
    state = opt.state_dict()
    for wrong in (None, [], torch.zeros(3)):
        with pytest.raises(ValueError, match="state: parameter 0: expected what was saved"):
            opt.load_state_dict({**state, "state": {0: {"program": wrong}}})


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_state_is_refused_and_changes_nothing(kind: str) -> None:
    model = converted()
    opt = SGD(model, lr=0.05)
    step(model, opt)
    state = damage(copy.deepcopy(opt.state_dict()), DAMAGES[kind])
    state["param_groups"][0]["lr"] = 0.7
    before = everything(model)
    with pytest.raises(ValueError, match="state: "):
        opt.load_state_dict(state)
    assert_same(everything(model), before)
    assert opt.param_groups[0]["lr"] == 0.05
    step(model, opt)


def test_the_groups_of_another_optimizer_keep_what_they_lack() -> None:
    model = converted()
    opt = SGD(model, lr=0.05, weight_decay=0.01)
    adam = torch.optim.Adam(list(model.trained_parameters()), lr=0.5)
    opt.load_state_dict(adam.state_dict())
    group = opt.param_groups[0]
    assert (group["lr"], group["momentum"], group["normalise"]) == (0.5, 0.0, False)


def test_groups_that_the_plan_cannot_follow_are_refused_before_anything_changes() -> None:
    model = converted()
    opt = SGD(model, lr=0.05)
    state = opt.state_dict()
    for key, value in (("momentum", 0.9), ("normalise", True), ("lr", float("nan"))):
        wrong = {**state, "param_groups": [{**state["param_groups"][0], key: value}]}
        with pytest.raises(ValueError, match=key):
            opt.load_state_dict(wrong)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        opt.load_state_dict({**state, "param_groups": state["param_groups"] * 2})
    assert opt.param_groups[0]["lr"] == 0.05
    step(model, opt)


def test_a_state_of_native_parameters_does_not_fit_a_plain_model() -> None:
    model = converted()
    state = SGD(model, lr=0.05).state_dict()
    plain = [p.detach().clone().requires_grad_() for p in model.trained_parameters()]
    with pytest.raises(ValueError, match="parameter 0 was a native program's, and here it is none's"):
        SGD(plain, lr=0.1).load_state_dict(state)
