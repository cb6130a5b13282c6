"""A plan is data: it reads back as it was, is used as it is, and nothing of it is trusted."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sparsebp
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import residual_network, tiny_mobilenet
from sparsebp import BudgetExceeded, Plan, UnsupportedModel, samplers
from sparsebp.planning.planner import Planner
from torch import nn
from training import SIZE, assert_same, everything, one_thread, sgd, step  # noqa: F401

#: Keywords of convert, apart from the budget.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "batch_size": 2,
        "max_update_ratio": 0.5,
        "ratios": {"features.6.*": 0.25, "features.6.0": 0.5},
        "sampler": "importance",
        "resample_every": 3,
        "momentum": True,
        "normalise": True,
        "gradients": "sum",
        "seed": 7,
        "train_bias": False,
    },
    "a sampler with a seed of its own": {"sampler": samplers.Cyclic(5)},
    "given channels": {"sampler": "static", "seed": 2**63},
}


def planned(budget: int | str = "64KB", **keywords: Any) -> Plan:
    return sparsebp.plan(tiny_mobilenet(), budget, input_size=SIZE, **keywords)


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
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), *tail(8))
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
    "no bias": (with_bias, r"layer classifier\.1: bias was True, here it is False"),
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


# -- nothing is trusted ----------------------------------------------------------------------------


Edit = Callable[[dict[str, Any]], object]
EDITS: dict[str, tuple[Edit, str]] = {
    "a newer version": (lambda p: p.update(version=2), "written in version 2, this sparsebp reads 1"),
    "a version as a fraction": (lambda p: p.update(version=1.0), r"written in version 1\.0, this sparsebp reads 1"),
    "a version that is none": (lambda p: p.update(version=True), "written in version True, this sparsebp reads 1"),
    "something else": (lambda p: p.pop("format"), r"expected what Plan\.to_json wrote"),
    "a key less": (lambda p: p.pop("buffers"), r"plan\.buffers: it is missing"),
    "a key more": (lambda p: p.update(colour="red"), r"plan\.colour: there is no such key"),
    "a peak that is too low": (lambda p: p.update(peak_bytes=p["peak_bytes"] - 4), r"plan\.buffers\[\d+\]: expected"),
    "a peak above the budget": (lambda p: p.update(peak_bytes=p["budget"] + 1), r"plan\.peak_bytes: expected 1 to"),
    "another total": (
        lambda p: p.update(update_ratio=0.5),
        r"plan\.update_ratio: expected 1\.0, got 0\.5; it follows",
    ),
    "another workspace": (lambda p: p.update(inference_bytes=1), r"plan\.inference_bytes: expected \d+, got 1; so"),
    "words for numbers": (lambda p: p.update(conv_weights="all"), r"plan\.conv_weights: expected a whole number, got"),
    "buffers that overlap": (lambda p: p["buffers"][1].update(offset=p["buffers"][0]["offset"]), r"plan\.buffers\[1\]"),
    "a moment too many": (lambda p: p["buffers"][0].update(end=2**62), r"plan\.buffers\[0\]: expected moments"),
    "more channels": (lambda p: p["choice"]["selected"].update({"features.6.0": 2}), r"plan\.layers: expected"),
    "a wider block": (lambda p: _widen(p), r"plan\.(peak_bytes|layers\[\d+\]\.bytes|buffers)"),
    "another digest": (lambda p: p["network"].update(digest="0" * 64), r"plan\.network\.digest: expected '\w+', got"),
    "another batch": (
        lambda p: p["settings"].update(batch_size=3),
        r"plan\.choice\.batch: expected 3 as in the settings",
    ),
    "a wrong setting": (
        lambda p: p["settings"].update(resample_every=0),
        r"plan\.settings\.resample_every: expected at",
    ),
    "a share below what it trains": (
        lambda p: p["settings"].update(max_update_ratio=1e-9),
        r"weights_per_step: expected",
    ),
    "an unknown setting": (lambda p: p["settings"].update(speed=1), r"plan\.settings\.speed: there is no such key"),
    "no number": (lambda p: p.update(update_ratio=math.nan), r"plan\.update_ratio"),
}


def _widen(plan: dict[str, Any]) -> None:
    for name in plan["choice"]["blocks"]:
        plan["choice"]["blocks"][name] //= 2


@pytest.mark.parametrize("kind", EDITS)
def test_a_plan_that_was_edited_is_refused_and_the_place_named(kind: str) -> None:
    edit, words = EDITS[kind]
    data = planned().to_dict()
    edit(data)
    with pytest.raises(ValueError, match=words):
        sparsebp.convert(tiny_mobilenet(), plan=Plan.from_json(json.dumps(data)))


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "null", "[]", "3", '{"format": "sparsebp plan"}', b"\xff\x00"]
)
def test_what_is_no_plan_is_refused(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plan: "):
        Plan.from_json(text)
    (tmp_path / "plan.json").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=r"plan\.json: plan: "):
        Plan.load(tmp_path / "plan.json")


@pytest.mark.parametrize("text", [None, 3, {}, Path("plan.json")], ids=lambda text: type(text).__name__)
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(TypeError, match="text: expected the JSON of a plan as str or bytes, got"):
        Plan.from_json(text)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in plain data, all the way down."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


ORIGINAL = json.loads(planned(**{**WAYS["everything"], "sampler": "random"}).to_json())
PLACES = list(places(ORIGINAL))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-2, 70),
    st.floats(),
    st.sampled_from(["", "sum", "cyclic", "saved", "features.6.0", "linear", "float64"]),
    st.lists(st.integers(-1, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(-1, 3), max_size=2),
)


@settings(max_examples=250, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(st.just("gone"), VALUES)), min_size=1, max_size=2))
def test_a_plan_with_anything_changed_is_refused_or_holds(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Where the change makes sense, such as another seed, the plan is one that the native core lays out as it says."""
    data = copy.deepcopy(ORIGINAL)
    for path, value in changes:
        _change(data, path, value)
    try:
        plan = Plan.from_json(json.dumps(data))
        model = sparsebp.convert(tiny_mobilenet(), plan=plan).train()
    except (ValueError, BudgetExceeded, UnsupportedModel):
        return
    assert Plan.from_json(plan.to_json()) == plan
    step(model, sgd(model, momentum=0.5, normalise=True))
    assert model.arena.peak == plan.peak_bytes <= plan.budget


def _change(data: Any, path: tuple[Any, ...], value: Any) -> None:
    *parents, last = path
    for key in parents:
        if not (isinstance(data, dict) and key in data) and not (isinstance(data, list) and key in range(len(data))):
            return  # another change took it away
        data = data[key]
    if not isinstance(data, (dict, list)) or (isinstance(data, list) and last not in range(len(data))):
        return
    if value == "gone":
        if isinstance(data, dict):
            data.pop(last, None)
        else:
            del data[last]
    else:
        data[last] = value
