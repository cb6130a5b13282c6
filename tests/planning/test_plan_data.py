"""A plan is data: it reads back as it was and is used as it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sparsebp
import torch
from networks import residual_network, tiny_mobilenet
from plans import WAYS, planned
from sparsebp import Plan, samplers
from sparsebp.planning.planner import Planner
from torch import nn
from training import SIZE, assert_same, everything, one_thread, sgd, step  # noqa: F401


def forbid_planning(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("planned again")

    patch.setattr(Planner, "__init__", refuse)


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("keywords", WAYS.values(), ids=WAYS.keys())
def test_a_plan_reads_back_as_it_was(keywords: dict[str, Any], tmp_path: Path) -> None:
    plan = planned(**keywords)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert (again.choice, again.buffers, again.request, again.reach) == (
        plan.choice,
        plan.buffers,
        plan.request,
        plan.reach,
    )
    assert list(again.request.ratios) == list(plan.request.ratios)  # of globs the last that fits counts
    assert again.network.digest == plan.network.digest == json.loads(plan.to_json())["network"]["digest"]
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert str(again) == str(plan)


@pytest.mark.parametrize("keywords", WAYS.values(), ids=WAYS.keys())
def test_equal_plans_have_equal_hashes(keywords: dict[str, Any]) -> None:
    """So that plans can be keys, and members of sets."""
    plan = planned(**keywords)
    again = Plan.from_json(plan.to_json())
    assert len({plan, again, planned(**keywords), planned("65KB", **keywords)}) == 2
    assert {*plan.layers, *again.layers} == set(plan.layers)


def test_networks_of_which_torch_runs_a_part_have_plans_too() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LPPool2d(2, 2), *tail(8))
    plan = sparsebp.plan(net, "64KB", input_size=SIZE)
    assert Plan.from_json(plan.to_json()) == plan
    assert sparsebp.convert(net, plan=plan).plan == plan


def tail(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]


def test_a_plan_that_was_read_trains_as_the_one_that_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sparsebp.convert(tiny_mobilenet(), "20KB", input_size=SIZE, **WAYS["everything"]).train()
    forbid_planning(monkeypatch)
    again = Plan.from_json(model.plan.to_json())
    twin = sparsebp.convert(tiny_mobilenet(), plan=again).train()
    assert twin.plan == model.plan
    first, second = (sgd(m, momentum=0.5, normalise=True) for m in (model, twin))
    for i in range(4):
        assert step(twin, second, seed=i) == step(model, first, seed=i)
    assert_same(everything(twin), everything(model))
    assert twin.arena.peak == again.peak_bytes


class Mine(samplers.Sampler):
    """The first channels."""

    def select(self, name: str, channels: int, count: int, turn: int) -> list[int]:
        return list(range(count))


def test_a_sampler_of_ones_own_has_to_be_given_again() -> None:
    plan = Plan.from_json(planned(sampler=Mine()).to_json())
    with pytest.raises(ValueError, match=r"sampler: the plan was made for .*Mine, .*give sampler="):
        sparsebp.convert(tiny_mobilenet(), plan=plan)
    with pytest.raises(ValueError, match=r"sampler: .* was given, but the plan was made with"):
        sparsebp.convert(tiny_mobilenet(), plan=plan, sampler="random")
    model = sparsebp.convert(tiny_mobilenet(), plan=plan, sampler=Mine())
    copied = copy.deepcopy(model)
    assert isinstance(copied.engine.sampler, Mine)
    assert copied.plan == plan


# -- keywords beside it ----------------------------------------------------------------------------


def test_a_contradicting_sampler_is_called_by_its_name() -> None:
    words = "^sampler: cyclic with seed 0 was given, but the plan was made with random with seed 0;"
    with pytest.raises(ValueError, match=words):
        sparsebp.convert(tiny_mobilenet(), plan=planned(), sampler="cyclic")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_size", (3, 20, 20)),
        ("batch_size", 2),
        ("max_update_ratio", 0.1),
        ("ratios", {"features.6.*": 0.5}),
        ("sampler", "cyclic"),
        ("resample_every", 2),
        ("momentum", True),
        ("normalise", True),
        ("gradients", "sum"),
        ("seed", 1),
        ("train_bias", False),
        ("budget", "63KB"),
    ],
)
def test_a_keyword_that_contradicts_the_plan_is_refused_by_name(name: str, value: Any) -> None:
    net, plan = tiny_mobilenet(), planned()
    before = everything(net)
    with pytest.raises(ValueError, match=f"^{name}: .* was given, but the plan was made with"):
        sparsebp.convert(net, plan=plan, **{name: value})
    other = planned(**{"budget": "64KB", **WAYS["everything"]})
    with pytest.raises(ValueError, match=r"^momentum: False was given"):  # although that is the default
        sparsebp.convert(net, plan=other, momentum=False)
    assert_same(everything(net), before)


def test_keywords_that_agree_are_welcome_and_wrong_ones_are_wrong() -> None:
    keywords = WAYS["everything"]
    plan = planned(**keywords)
    assert sparsebp.convert(tiny_mobilenet(), "64KB", plan=plan, input_size=list(SIZE), **keywords).plan == plan
    for wrong, error in (({"seed": -1}, ValueError), ({"momentum": 1}, TypeError), ({"speed": 1}, TypeError)):
        with pytest.raises(error, match=next(iter(wrong))):
            sparsebp.convert(tiny_mobilenet(), plan=plan, **wrong)
    with pytest.raises(TypeError, match=r"plan: expected a sparsebp\.Plan, .*Plan\.load\(path\)"):
        sparsebp.convert(tiny_mobilenet(), plan=plan.to_json())


# -- another network -------------------------------------------------------------------------------


def without_block() -> nn.Module:
    net = tiny_mobilenet()
    net.features = nn.Sequential(*(m for i, m in enumerate(net.features) if i != 3))
    return net


def with_stride() -> nn.Module:
    net = tiny_mobilenet()
    net.features[0][0].stride = (1, 1)
    return net


def with_relu() -> nn.Module:
    net = tiny_mobilenet()
    net.features[0][2] = nn.ReLU()
    return net


def with_bias() -> nn.Module:
    net = tiny_mobilenet()
    net.classifier[1] = nn.Linear(net.classifier[1].in_features, 10, bias=False)
    return net


OTHERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "another class": (residual_network, "layer .* is missing here"),
    "other classes": (lambda: tiny_mobilenet(classes=4), r"layer classifier\.1: output was 10x1x1, here it is 4x1x1"),
    "a block less": (without_block, "layer features.* is missing here"),
    "another stride": (with_stride, r"layer features\.0\.0: output was 16x8x8, here it is 16x16x16"),
    "another activation": (with_relu, r"layer features\.0\.0: activation was relu6, here it is relu"),
    "no bias": (with_bias, r"layer classifier\.1: bias was classifier\.1\.bias, here it is None"),
    "another dtype": (lambda: tiny_mobilenet().double(), "the weights were float32, here they are float64"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_plan_of_another_network_is_refused_and_the_difference_named(kind: str) -> None:
    make, words = OTHERS[kind]
    net, plan = make(), planned()
    before = everything(net)
    digests = f"plan: it was made for another network, {plan.network.digest[:12]}, and this one is [0-9a-f]{{12}}"
    with pytest.raises(ValueError, match=f"{digests}: {words}"):
        sparsebp.convert(net, plan=plan)
    assert_same(everything(net), before)


def test_other_weights_and_another_dropout_are_the_same_network() -> None:
    net = tiny_mobilenet(seed=3, dropout=0.5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.9)
    plan = sparsebp.plan(tiny_mobilenet(dropout=0.2), "64KB", input_size=SIZE)
    assert sparsebp.convert(net, plan=plan).plan == plan
