"""Nothing of a plan that was read is trusted: whatever has changed in it is refused, or holds."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sparsebp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import tiny_mobilenet
from plans import WAYS, planned
from sparsebp import BudgetExceeded, Plan, UnsupportedModel
from training import everything, one_thread, sgd, step  # noqa: F401

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
