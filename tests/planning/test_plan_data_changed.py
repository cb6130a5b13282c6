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
from sparsebp import BudgetExceeded, Plan
from training import everything, one_thread, sgd, step  # noqa: F401

Edit = Callable[[dict[str, Any]], object]
EDITS: dict[str, tuple[Edit, str]] = {
    "a newer version": (lambda p: p.update(version=5), "written in version 5, this sparsebp reads 4"),
    "a version as a fraction": (lambda p: p.update(version=4.0), r"written in version 4\.0, this sparsebp reads 4"),
    "a version that is none": (lambda p: p.update(version=True), "written in version True, this sparsebp reads 4"),
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


def pieces(name: str, value: Any) -> Edit:
    """Puts something else in the place of one of the pieces."""
    return lambda plan: plan["choice"]["pieces"].update({name: value})


def piece(name: str, layer: str, value: Any) -> Edit:
    """Puts something else in the place of one number of them."""
    return lambda plan: plan["choice"]["pieces"][name].update({layer: value})


STEM, BLOCK = "features.0.0", "features.1.conv.0.0"
#: Of which both are frozen.
WHOLE_STEP = sparsebp.plan(tiny_mobilenet(), "22KB", input_size=(3, 32, 32), scope="step").to_json()
EDITS_OF_A_STEP: dict[str, tuple[Edit, str]] = {
    "no pieces": (lambda p: p["choice"].update(pieces=None), r"plan\.choice\.pieces: expected an object, got None"),
    "pieces less": (lambda p: p["choice"].pop("pieces"), r"plan\.choice\.pieces: it is missing"),
    "a kind less": (lambda p: p["choice"]["pieces"].pop("rows"), r"plan\.choice\.pieces\.rows: it is missing"),
    "a kind more": (pieces("x", 1), r"plan\.choice\.pieces\.x: there is no such key"),
    "rows that are none": (pieces("rows", [1]), r"plan\.choice\.pieces\.rows: expected an object, got \[1\]"),
    "no row": (piece("rows", STEM, 0), r"choice\.pieces\.rows: features\.0\.0: expected 1 to 1048576, got 0"),
    "too many rows": (piece("rows", STEM, 2**20 + 1), r"rows: features\.0\.0: expected 1 to 1048576, got 1048577"),
    "far too many rows": (piece("rows", STEM, 2**70), r"choice\.pieces\.rows\.features\.0\.0: expected a whole number"),
    "true rows": (piece("rows", STEM, True), r"pieces\.rows\.features\.0\.0: expected a whole number, got True"),
    "rows of a stranger": (piece("rows", "nobody", 1), r"plan\.choice: made for another network; no op .* 'nobody'"),
    "columns of a stranger": (piece("columns", "nobody", 16), r"plan\.choice: made for another network; .* 'nobody'"),
    "half a panel": (piece("columns", BLOCK, 12), r"plan\.choice: .* forward_block: expected a multiple of 8, got 12"),
    "other rows": (piece("rows", STEM, 2**20), r"plan\.peak_bytes: expected \d+, got \d+; so this sparsebp lays"),
    "no streams": (pieces("streams", []), r"plan\.choice: .* expected a multiple of 16 outside a stream, got 8"),
    "streams in words": (pieces("streams", "all"), r"choice\.pieces\.streams: expected a list, got 'all'"),
    "a stream in words": (pieces("streams", ["ab"]), r"choice\.pieces\.streams\[0\]: expected a list, got 'ab'"),
    "a stream without an end": (pieces("streams", [[STEM]]), r"streams: expected a first and a last layer, got 1"),
    "a stream of strangers": (pieces("streams", [[STEM, "nobody"]]), r"plan\.choice: made for another .* 'nobody'"),
    "a stream backwards": (pieces("streams", [[BLOCK, STEM]]), r"plan\.choice: .* stream 0: expected .*; got 1 to 1"),
    "streams that overlap": (
        pieces("streams", [[STEM, BLOCK], [BLOCK, BLOCK]]),
        r"plan\.choice: .* stream 1: expected",
    ),
    "a stream into the span": (pieces("streams", [[STEM, "classifier.1"]]), r"plan\.choice: .* stream 0: expected"),
    "another scope": (lambda p: p["choice"].update(scope="training"), r"plan\.choice\.scope: expected step as in the"),
    "an unknown scope": (lambda p: p["settings"].update(scope="all"), r"plan\.settings\.scope: expected training or"),
    "pictures elsewhere": (lambda p: p["settings"].update(pictures="elsewhere"), r"plan\.choice\.pictures: expected"),
}


@pytest.mark.parametrize("kind", EDITS_OF_A_STEP)
def test_an_edited_plan_of_a_whole_step_is_refused_too(kind: str) -> None:
    edit, words = EDITS_OF_A_STEP[kind]
    data = json.loads(WHOLE_STEP)
    assert data["choice"]["begin"] not in (STEM, BLOCK)
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


ORIGINALS = [json.loads(planned(**{**WAYS["everything"], "sampler": "random"}).to_json()), json.loads(WHOLE_STEP)]
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


@st.composite
def changed_plans(draw: st.DrawFn) -> Any:
    """One of the plans with something else in one or two places, or nothing."""
    data = copy.deepcopy(draw(st.sampled_from(ORIGINALS)))
    here = list(places(data))
    pieces = [path for path in here if "pieces" in path]
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.one_of(st.sampled_from(here), st.sampled_from(pieces)))
        _change(data, path, draw(st.one_of(st.just("gone"), VALUES)))
    return data


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=changed_plans())
def test_a_plan_with_anything_changed_is_refused_or_holds(data: Any) -> None:
    """Where the change makes sense, such as another seed, the plan is one that the native core lays out as it says."""
    try:
        plan = Plan.from_json(json.dumps(data))
        model = sparsebp.convert(tiny_mobilenet(), plan=plan).train()
    except (ValueError, BudgetExceeded):
        return
    assert Plan.from_json(plan.to_json()) == plan
    step(model, sgd(model, momentum=0.5 if plan.momentum else 0.0, normalise=plan.normalise))
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
