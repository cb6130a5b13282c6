"""What a budget buys in MobileNetV2: which layers, how many channels, and their bytes, by arithmetic by hand."""

from __future__ import annotations

import pytest
import sparsebp
from plans import net
from sparsebp import Plan
from torch import nn
from training import one_thread  # noqa: F401

__all__ = ["net"]  # fixtures

#: Of an inverted residual of MobileNetV2 at 224 px: expanded channels, pixels before and after the filter.
BLOCKS_224 = {14: (576, 196, 49), 15: (960, 49, 49), 16: (960, 49, 49), 17: (960, 49, 49)}
#: The same at 128 px.
BLOCKS_128 = {
    7: (192, 256, 64),
    **dict.fromkeys((8, 9, 10, 11), (384, 64, 64)),
    **dict.fromkeys((12, 13), (576, 64, 64)),
    14: (576, 64, 16),
    **dict.fromkeys((15, 16, 17), (960, 16, 16)),
}


@pytest.fixture(scope="module")
def default(net: nn.Module) -> Plan:
    return sparsebp.plan(net)


@pytest.fixture(scope="module")
def every_layer(net: nn.Module) -> Plan:
    """Every layer from block 14 on trains the same share of its channels, none before."""
    return sparsebp.plan(net, ratios={"features.[0-9].*": 0, "features.1[0-3].*": 0, "features.1[4-8].*": 0.02})


def block_of(name: str) -> int:
    """``features.N....`` -> N; the classifier comes after all of them."""
    return int(name.split(".")[1]) if name.startswith("features") else 99


def masks(plan: Plan, blocks: range) -> int:
    return sum(layer.bytes["masks"] for layer in plan if block_of(layer.name) in blocks)


def test_the_default_budget_trains_mobilenet_v2_from_block_14_on_at_224(default: Plan) -> None:
    assert default.budget == 262_144
    assert default.peak_bytes <= 262_144
    assert block_of(default.layers[0].name) <= 14
    assert default.input_size == (3, 224, 224)
    assert default.conv_weights == 2_189_760
    assert default.update_ratio > 0.02


def test_the_papers_setting_two_percent_of_the_weights(net: nn.Module) -> None:
    plan = sparsebp.plan(net, "256KB", max_update_ratio=0.02)
    assert block_of(plan.layers[0].name) <= 14
    assert 0.019 < plan.update_ratio <= 0.02
    assert plan.weights_per_step <= 43_795  # a buffer for their gradients alone would be 171 KB
    assert not plan.gradient_sums


def test_masks_at_224(every_layer: Plan) -> None:
    default = every_layer
    for block, (expanded, before, after) in BLOCKS_224.items():
        assert default[f"features.{block}.conv.0.0"].bytes["masks"] == expanded * before // 8
        assert default[f"features.{block}.conv.1.0"].bytes["masks"] == expanded * after // 8
        assert default[f"features.{block}.conv.2"].bytes["masks"] == 0
    assert default["features.18.0"].bytes["masks"] == 1280 * 49 // 8
    assert masks(default, range(14, 18)) == 52_920
    assert masks(default, range(14, 19)) == 60_760
    assert masks(default, range(15, 16)) == 11_760


def test_masks_at_128(net: nn.Module) -> None:
    """195 064 bytes hold the span from block 7 on."""
    plan = sparsebp.plan(net, 195_064, input_size=(3, 128, 128), max_update_ratio=0.02)
    assert block_of(plan.layers[0].name) <= 7
    for block, (expanded, before, after) in BLOCKS_128.items():
        assert masks(plan, range(block, block + 1)) == expanded * (before + after) // 8
    assert masks(plan, range(12, 13)) == 9216
    assert masks(plan, range(7, 19)) == 70_528


def test_a_saved_channel_costs_its_pixels_and_brings_its_weights(every_layer: Plan) -> None:
    """196 bytes buy 960 weights of an expansion at 7 x 7, and 160 of the projection after it."""
    default = every_layer
    for layer, weights in (("features.15.conv.0.0", 960), ("features.15.conv.1.0", 9), ("features.15.conv.2", 160)):
        planned = default[layer]
        assert planned.bytes["saved"] == planned.selected * 49 * 4
        assert planned.weights == planned.selected * weights
        assert planned.total_weights == planned.channels * weights
    for block, (_, before, after) in BLOCKS_224.items():
        pixels = {"conv.0.0": before, "conv.1.0": before, "conv.2": after}
        for layer, count in pixels.items():
            planned = default[f"features.{block}.{layer}"]
            assert planned.bytes["saved"] == planned.selected * count * 4
    assert default["features.18.0"].bytes["saved"] == default["features.18.0"].selected * 196
    assert default["classifier.1"].bytes["saved"] == 1280 * 4
    assert default["classifier.1"].selected == 1280


def test_gradients_at_the_edges_of_a_block(every_layer: Plan) -> None:
    default = every_layer
    sizes = {b.bytes for b in default.buffers if b.category == "gradients"}
    assert sizes == {320 * 49 * 4, 160 * 49 * 4, 1280 * 4, 10 * 4}  # the last: of the loss
    assert default.peak_by_category()["gradients"] == 62_720 + 31_360


def test_masks_of_layers_of_which_only_shifts_train_stand_at_their_block(default: Plan, every_layer: Plan) -> None:
    for block in range(14, 18):
        (layer,) = (layer for layer in default if block_of(layer.name) == block)
        assert layer.name == f"features.{block}.conv.0.0"
        assert layer.bytes["masks"] == masks(every_layer, range(block, block + 1))


def test_convolutions_that_widen_train_first_the_same_number_of_weights_in_each(net: nn.Module) -> None:
    plan = sparsebp.plan(net, "256KB", input_size=(3, 128, 128), max_update_ratio=0.02)
    convolutions = [m for m in plan if m.kind != "linear"]
    for layer in convolutions:
        module = net.get_submodule(layer.name)
        assert isinstance(module, nn.Conv2d)
        assert module.out_channels > module.in_channels
    mean = sum(layer.weights for layer in convolutions) / len(convolutions)
    for layer in convolutions:  # but for the rounding to whole channels
        assert abs(layer.weights - mean) < layer.total_weights / layer.channels
    shares = [layer.ratio for layer in convolutions]
    assert shares == sorted(shares, reverse=True)  # smaller ratios in later layers


def test_the_others_follow_when_those_are_full(net: nn.Module) -> None:
    some, more, most = (sparsebp.plan(net, "64MB", input_size=(3, 64, 64), max_update_ratio=r) for r in (0.3, 0.9, 1))
    widen = {n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.out_channels > m.in_channels}
    assert {layer.name for layer in some if layer.kind != "linear"} == widen
    assert all(more[name].ratio == 1 for name in widen)
    assert len(more.layers) == len(most.layers) == 53
    assert most.update_ratio == 1


def test_where_nothing_widens_everything_trains() -> None:
    net = nn.Sequential(
        nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    plan = sparsebp.plan(net, "64KB", input_size=(8, 8, 8), max_update_ratio=0.5)
    assert [layer.name for layer in plan] == ["0", "2", "5"]


def test_what_a_sampler_remembers(net: nn.Module, default: Plan) -> None:
    """An index for each selected channel, a bit and, with scores, a float for each channel."""
    scored = sparsebp.plan(net, "256KB", sampler="importance")
    for plan, per_channel in ((default, 0), (scored, 4)):
        for layer in plan:
            sampled = layer.selected < layer.channels
            expected = 4 * layer.selected + (layer.channels + 7) // 8 + per_channel * layer.channels
            assert layer.bytes["sampler"] == (expected if sampled else 0)


def test_momentum_costs_a_float_for_each_selected_weight_and_shift(net: nn.Module) -> None:
    for train_bias, shifts in ((True, 960), (False, 0)):
        plan = sparsebp.plan(net, "512KB", momentum=True, train_bias=train_bias)
        layer = plan["features.17.conv.0.0"]
        assert layer.bytes["optimizer"] == 4 * (layer.selected * 960 + shifts)
        assert plan["classifier.1"].bytes["optimizer"] == 4 * (12_800 + 10)


def test_sums_are_held_where_they_are_asked_for(net: nn.Module) -> None:
    settings = {"input_size": (3, 64, 64), "ratios": {"features.17.*": 0.1}}
    assert not sparsebp.plan(net, "16MB", **settings).gradient_sums
    plan = sparsebp.plan(net, "16MB", **settings, gradients="sum")
    assert plan.gradient_sums
    layer = plan["features.17.conv.0.0"]
    assert layer.bytes["weight_gradients"] == 4 * (16 * 960 + 960)
