"""What a budget buys: ratios, more bytes, and the plan as an object."""

from __future__ import annotations

import itertools
import json
import random

import pytest
import sparsebp
from networks import residual_network, tiny_mobilenet
from plans import net
from random_networks import random_network
from sparsebp import BudgetExceeded, Plan
from sparsebp.planning.channel_blocks import USUAL_BLOCK
from torch import nn
from training import SIZE, assert_same, everything, one_thread  # noqa: F401

__all__ = ["net"]  # fixtures

# -- ratios ---------------------------------------------------------------------------------------


def test_a_frozen_convolution_leaves_the_first_place_to_the_others() -> None:
    """The only one that widens is frozen: what is left trains, and no plan is the classifier alone."""
    net = nn.Sequential(
        nn.Conv2d(3, 3, 3, stride=2, padding=1),
        nn.Conv2d(3, 1, 3, padding=1),
        nn.Conv2d(1, 8, 5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    options = {"input_size": (3, 24, 24), "ratios": {"2": 0}}
    for budget in (sparsebp.min_budget(net, **options), 1 << 20):
        assert "conv" in {layer.kind for layer in sparsebp.plan(net, budget, **options)}


def test_ratios_take_globs_and_later_ones_win() -> None:
    ratios = {"features.*": 0.25, "features.3.conv.*": 0.5, "features.3.conv.1.0": 0, "classifier.?": 0.125}
    plan = sparsebp.plan(tiny_mobilenet(), "1MB", input_size=SIZE, ratios=ratios)
    assert plan["features.0.0"].selected == 1  # a quarter of three, rounded
    assert plan["features.2.conv.2"].ratio == 0.25
    assert plan["features.3.conv.0.0"].ratio == 0.5
    assert plan["features.3.conv.2"].ratio == 0.5
    assert plan["features.6.0"].ratio == 0.25
    assert plan["classifier.1"].ratio == 0.125
    with pytest.raises(KeyError, match=r"features\.3\.conv\.1\.0"):
        plan["features.3.conv.1.0"]
    assert len(plan.layers) == 16


def test_a_layer_with_a_ratio_trains_whatever_the_budget_and_one_without_follows_it() -> None:
    net, settings = tiny_mobilenet(), {"input_size": SIZE, "ratios": {"features.3.conv.0.0": 0.5}}
    smallest = sparsebp.min_budget(net, **settings)
    assert smallest > sparsebp.min_budget(net, input_size=SIZE)
    for budget in (smallest, 4 * smallest):
        plan = sparsebp.plan(net, budget, **settings)
        assert plan["features.3.conv.0.0"].ratio == 0.5
    assert {layer.name for layer in sparsebp.plan(net, smallest, **settings)} >= {"features.6.0", "classifier.1"}


@pytest.mark.parametrize("ratio", [1.0, 0.3, 0.1, 0.03])
def test_a_cap_on_the_share_of_weights_is_used_and_never_exceeded(ratio: float) -> None:
    for make in (tiny_mobilenet, residual_network):
        plan = sparsebp.plan(make(), "1MB", input_size=(3, 20, 20), max_update_ratio=ratio)
        assert plan.weights_per_step == sum(layer.weights for layer in plan if layer.kind != "linear")
        assert plan.weights_per_step <= ratio * plan.conv_weights
        assert plan.update_ratio > 0.6 * ratio


def test_a_cap_below_one_channel_of_each_layer_says_what_would_do() -> None:
    net = tiny_mobilenet()
    with pytest.raises(ValueError, match=r"max_update_ratio: expected at least ([0-9.]+)%") as caught:
        sparsebp.plan(net, "1MB", input_size=SIZE, max_update_ratio=1e-6)
    least = float(str(caught.value).split("at least ")[1].split("%")[0]) / 100
    plan = sparsebp.plan(net, "1MB", input_size=SIZE, max_update_ratio=least * 1.0002)
    assert plan.update_ratio == pytest.approx(least, rel=1e-3)


def test_the_smallest_budget_is_that_of_a_span_whose_first_layer_does_not_widen_if_that_is_cheaper() -> None:
    """Before the pooling a layer that widens needs all pixels, those behind it a quarter of them."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2, 2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )
    smallest = sparsebp.min_budget(net, input_size=(3, 32, 32))
    plan = sparsebp.plan(net, smallest, input_size=(3, 32, 32))
    assert plan.layers[0].name != "0"
    assert plan.peak_bytes == smallest
    with pytest.raises(BudgetExceeded):
        sparsebp.plan(net, smallest - 1, input_size=(3, 32, 32))


# -- more bytes -----------------------------------------------------------------------------------


def narrow(plan: Plan) -> bool:
    """Whether some channel blocks are the smallest ones, which cost speed."""
    return any(b < USUAL_BLOCK for op, b in plan.choice.blocks.items() if op >= plan.choice.begin)


def value(plan: Plan) -> float:
    """What the planner maximises; the span's layers are all those from its first on, trained or not."""
    return plan.weights_per_step * len(plan.choice.selected) ** 5


def assert_worth_no_less(larger: Plan, smaller: Plan) -> None:
    """Faster blocks may cost a third; with the same span and no narrower blocks, no layer trains a channel less."""
    faster = narrow(smaller) and not narrow(larger)
    assert value(larger) * (1.5 if faster else 1) >= value(smaller)
    if larger.choice.begin == smaller.choice.begin and not faster:
        assert all(larger[layer.name].selected >= layer.selected for layer in smaller)


def test_more_bytes_are_worth_no_less_in_mobilenet_v2(net: nn.Module) -> None:
    smallest = sparsebp.min_budget(net, input_size=(3, 128, 128))
    budgets = [int(smallest * 1.25**i) for i in range(24)]
    plans = [sparsebp.plan(net, b, input_size=(3, 128, 128)) for b in budgets]
    for smaller, larger in itertools.pairwise(plans):
        assert_worth_no_less(larger, smaller)
    assert len(plans[0].layers) == 2
    assert len(plans[-1].layers) > 40


@pytest.mark.parametrize("seed", range(12))
def test_more_bytes_are_worth_no_less_in_any_network(seed: int) -> None:
    net, size = random_network(random.Random(seed))
    smallest = sparsebp.min_budget(net, input_size=size)
    plans = [sparsebp.plan(net, int(smallest * 1.4**i), input_size=size) for i in range(14)]
    for smaller, larger in itertools.pairwise(plans):
        assert_worth_no_less(larger, smaller)
    assert plans[-1].update_ratio == 1
    assert not any(plan.gradient_sums for plan in plans)


@pytest.mark.parametrize(("budget", "begin", "block"), [("64KB", 17, 16), ("128KB", 13, 16), ("256KB", 8, 32)])
def test_layers_come_before_weights_and_weights_before_speed(
    net: nn.Module, budget: str, begin: int, block: int
) -> None:
    """The three that were measured against spans around them, and against plans with other blocks (RESULTS.md)."""
    plan = sparsebp.plan(net, budget, input_size=(3, 129, 129), normalise=True)
    assert plan.layers[0].name.startswith(f"features.{begin}.")
    assert narrow(plan) == (block < USUAL_BLOCK)


def test_as_many_bytes_as_the_peak_are_enough() -> None:
    for budget in ("12KB", "40KB", "1MB"):
        plan = sparsebp.plan(tiny_mobilenet(), budget, input_size=SIZE)
        again = sparsebp.plan(tiny_mobilenet(), plan.peak_bytes, input_size=SIZE)
        assert again.layers == plan.layers
        assert again.peak_bytes == plan.peak_bytes


# -- the plan as an object ------------------------------------------------------------------------


def test_a_plan_is_read_like_a_table() -> None:
    net = tiny_mobilenet()
    plan = sparsebp.plan(net, "24KB", input_size=SIZE, batch_size=2)
    assert [layer.name for layer in plan] == [layer.name for layer in plan.layers]
    names = [n for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert [layer.name for layer in plan] == names[-len(plan.layers) :]
    printed = str(plan)
    for text in (plan.layers[0].name, f"{plan.peak_bytes:,} of 24,576 bytes", "inference workspace", "3x16x16"):
        assert text in printed
    assert max(map(len, printed.splitlines())) <= 120


def test_a_plan_is_written_as_json() -> None:
    plan = sparsebp.plan(tiny_mobilenet(), "24KB", input_size=SIZE, momentum=True)
    data = json.loads(plan.to_json())
    assert data["peak_bytes"] == plan.peak_bytes
    assert data["peak_by_category"] == plan.peak_by_category()
    assert data["layers"][0]["bytes"] == plan.layers[0].bytes
    assert [b["offset"] for b in data["buffers"]] == [b.offset for b in plan.buffers]
    assert plan.to_json(indent=None).count("\n") == 0


@pytest.mark.parametrize("training", [True, False])
def test_planning_leaves_the_model_alone(training: bool) -> None:
    net = tiny_mobilenet().train(training)
    net.features[1].eval()
    net.features[2].requires_grad_(False)
    before = everything(net)
    memory = {n: (p.data_ptr(), p.stride(), p._version) for n, p in net.named_parameters()}
    sparsebp.plan(net, "24KB", input_size=SIZE)
    sparsebp.min_budget(net, input_size=SIZE)
    assert_same(everything(net), before)
    assert {n: (p.data_ptr(), p.stride(), p._version) for n, p in net.named_parameters()} == memory
