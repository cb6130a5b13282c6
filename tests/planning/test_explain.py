"""A plan says why it is what it is, and every number it gives can be checked."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sparsebp
from sparsebp.cli import main
from sparsebp.cli.errors import Exit
from sparsebp.networks.mobilenet_v2 import mobilenet_v2

SIDE = 129


def explain(budget: int | str, **settings: Any) -> str:
    return "\n".join(sparsebp.explain(mobilenet_v2(10), budget, input_size=(3, SIDE, SIDE), **settings))


def numbers(text: str, pattern: str) -> list[int]:
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in\n{text}"
    return [int(n.replace(",", "")) for n in found.groups()]


def test_the_span_begins_where_one_block_more_would_not_fit() -> None:
    text = explain("256KB", max_update_ratio=0.02)
    needed, excess = numbers(text, r"begins at features\.5\.conv\.0\.0 .*? step: ([\d,]+) bytes, ([\d,]+) too many")
    assert needed - excess == 256 * 1024
    more = sparsebp.plan(mobilenet_v2(10), needed, input_size=(3, SIDE, SIDE), max_update_ratio=0.02)
    assert more.layers[0].name == "features.5.conv.0.0"
    assert more.peak_bytes <= needed
    less = sparsebp.plan(mobilenet_v2(10), needed - 1, input_size=(3, SIDE, SIDE), max_update_ratio=0.02)
    assert less.layers[0].name == "features.6.conv.0.0"


def test_it_says_what_rules_out_more_channels() -> None:
    assert "More would exceed max_update_ratio=0.02" in explain("256KB", max_update_ratio=0.02)
    assert "More would exceed the budget" in explain("256KB")
    assert "That is every channel" in explain("512MB")


@pytest.mark.parametrize(
    ("ratios", "division"),
    [({"*": 0.05}, False), ({"features.[0-9].*": 0, "features.1[0-7].*": 0}, True)],
)
def test_where_nothing_can_be_added_neither_budget_nor_cap_is_blamed(ratios: dict[str, float], division: bool) -> None:
    text = explain("1GB", ratios=ratios)
    assert "None of the others can train more" in text
    assert "More would exceed" not in text
    assert ("Convolutions that widen" in text) == division


@pytest.mark.parametrize(("side", "budget"), [(97, "256KB"), (65, "128KB"), (129, "256KB"), (224, "1MB")])
def test_a_cap_is_blamed_only_if_one_channel_more_breaks_it(side: int, budget: str) -> None:
    """The next to get one is the layer that would then still train the fewest weights, each rounded to channels."""
    model, size = mobilenet_v2(10), (3, side, side)
    plan = sparsebp.plan(model, budget, input_size=size, max_update_ratio=0.02)
    text = "\n".join(sparsebp.explain(model, budget, input_size=size, max_update_ratio=0.02))
    assert "More would exceed max_update_ratio=0.02" in text
    free = [layer for layer in plan.layers if layer.kind != "linear" and layer.selected < layer.channels]
    a_channel = {layer.name: layer.weights // layer.selected for layer in free}
    due = {layer.name: (layer.selected + 0.5) * a_channel[layer.name] for layer in free}
    following = [name for name, amount in due.items() if amount == min(due.values())]  # equal layers grow at once
    assert plan.weights_per_step + sum(a_channel[name] for name in following) > 0.02 * plan.conv_weights


def test_the_price_of_speed_is_not_kept_secret() -> None:
    """With 224 pixels 256 KB hold block 12 in the smallest channel blocks alone, which make up for their slowness."""
    plan = sparsebp.plan(mobilenet_v2(10), "256KB", input_size=(3, 224, 224), max_update_ratio=0.02)
    assert plan.layers[0].name == "features.12.conv.0.0"
    assert 16 in {block for op, block in plan.choice.blocks.items() if op >= plan.choice.begin}
    assert "be worth 1.5 times as much" not in explain("64KB")
    share, narrow = re.findall(r"be worth 1\.5 times as much: ([\d.]+)% .*? step, ([\d,]+) bytes", explain("256KB"))[0]
    assert float(share) > 5
    assert int(narrow.replace(",", "")) > 256 * 1024


def test_a_cap_can_decide_where_the_span_begins() -> None:
    text = explain("16MB", max_update_ratio=0.0009)
    assert re.search(r"the least from \S+ on, one channel of each .* would already be [\d.]+% .* allows 0\.0900%", text)


def test_a_whole_network_begins_at_its_beginning() -> None:
    text = explain("64MB")
    assert "53 layers from features.0.0 to classifier.1 train." in text
    assert "cannot begin earlier" in text
    assert "runs as in inference" not in text


def test_the_peak_and_its_price_for_sums_are_the_plans() -> None:
    plan = sparsebp.plan(mobilenet_v2(10), "256KB", input_size=(3, SIDE, SIDE), max_update_ratio=0.02)
    text = explain("256KB", max_update_ratio=0.02)
    assert numbers(text, r"lays these out in ([\d,]+) of ([\d,]+) bytes") == [plan.peak_bytes, 256 * 1024]
    (sums,) = numbers(text, r"would take the peak to ([\d,]+) bytes")
    assert sums > 256 * 1024
    assert "Gradients are summed in the arena" in explain(sums, max_update_ratio=0.02, gradients="sum")


def test_feature_bytes_are_selected_elements_and_mask_bits() -> None:
    plan = sparsebp.plan(mobilenet_v2(10), "256KB", input_size=(3, 128, 128), max_update_ratio=0.02)
    elements = sum(layer.bytes["saved"] for layer in plan.layers) // 4
    masks = sum(layer.bytes["masks"] for layer in plan.layers)
    held = plan.peak_by_category()
    assert plan.feature_bytes(32) == held["saved"] + held["masks"] <= 4 * elements + masks + 1024
    assert plan.feature_bytes(32) - plan.feature_bytes(16) == held["saved"] // 2
    assert plan.feature_bytes(8) == held["saved"] // 4 + held["masks"]
    with pytest.raises(ValueError, match="bits: expected a whole number from 1 to 64, got 0"):
        plan.feature_bytes(0)


def test_the_command_line_explains_below_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["plan", "--input-size", "129", "--explain"])
    assert end.value.code == Exit.OK
    shown = " ".join(capsys.readouterr().out.split())
    assert "Of all spans that fit with channel blocks of 32 this one is worth most" in shown
    with pytest.raises(SystemExit) as end:
        main(["plan", "--explain", "--json"])
    assert end.value.code == Exit.USAGE
