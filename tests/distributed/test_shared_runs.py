"""A fine-tuning run that several ranks share is the run of one process, and goes on with any number of them."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import rank_runs
import runs
import torch
from sparsebp.finetuning import checkpoint
from test_data_parallel import distance
from training import one_thread  # noqa: F401 - a fixture
from worlds import Failed, World, world

TOLERANCE = 1e-3
"""Of weights, in float32: some steps of a network with ReLU6."""


def assert_like(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """The same run within rounding."""
    numbers = {n: t for n, t in got["after"].items() if t.is_floating_point()}
    assert distance(numbers, expected["after"], {name: got["before"][name] for name in numbers}) <= TOLERANCE
    for mine, other in zip(got["history"]["epochs"], expected["history"]["epochs"], strict=True):
        assert mine["accuracy"] == other["accuracy"]
        assert mine["coverage"] == other["coverage"]
        assert mine["learned_from"] == other["learned_from"]
        assert mine["test_loss"] == pytest.approx(other["test_loss"], rel=1e-4)
    for name in ("confusion", "skipped", "kept"):
        mine, other = got["history"][name], expected["history"][name]
        assert sorted(mine or []) == sorted(other or []), name
    assert got["history"]["losses"] == [pytest.approx(pair, rel=1e-4) for pair in expected["history"]["losses"]]
    assert got["memory"] == expected["memory"]


def assert_same_sets(out: Path, other: Path) -> None:
    own, expected = rank_runs.update_sets(out), rank_runs.update_sets(other)
    assert own.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in own.items())


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "micro-batches, and several epochs' mean": {"micro_batch": 2, "average": 2},
    "a cache, and the best epoch": {"cache": "memory", "augment": "flip", "keep": "best", "epochs": 3},
    "learned pictures, and patience": {"skip_above": 0.3, "patience": 1, "epochs": 3},
    "torn pictures": {"data": "torn"},
    "balanced loss": {"data": "uneven", "balance": "loss"},
    "balanced sampling, normalised": {"data": "uneven", "balance": "sampling", "normalise": True, "lr": 0.001},
    "dropout and momentum": {"dropout": 0.3, "momentum": 0.9, "resample_every": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_share_a_run(two: World, tmp_path: Path, case: str) -> None:
    expected = rank_runs.shared(None, {}, tmp_path / "one", **CASES[case])
    first, second = two.run(_shared, tmp_path / "two", CASES[case])
    for got in (first, second):
        assert not isinstance(got, Failed), got
        assert_like(got, expected)
    assert all(torch.equal(first["after"][name], t) for name, t in second["after"].items())
    assert_same_sets(tmp_path / "two", tmp_path / "one")
    assert (first["wrote"], second["wrote"], expected["exchanged"]) == (True, False, None)
    assert first["exchanged"]["steps"] > 0
    assert first["skipped"] == expected["skipped"]
    runs.assert_finished(tmp_path / "two", kept=bool({"keep", "average"} & CASES[case].keys()))


def _shared(ranks: Any, kept: dict[str, Any], out: Path | None, changes: dict[str, Any]) -> dict[str, Any]:
    return rank_runs.shared(ranks, kept, out, **changes)


# -- going on ----------------------------------------------------------------------------------------


def test_a_run_of_two_ranks_goes_on_with_one_and_with_three_and_a_killed_rank_leaves_it_whole(
    two: World, tmp_path: Path
) -> None:
    undisturbed = rank_runs.shared(None, {}, tmp_path / "one")
    stopped = two.run(_shared, tmp_path / "two", {"signals": (1, 1)})  # the second rank is asked, both stop
    assert [found["stopped"][:2] for found in stopped] == [(0, 2), (0, 2)], "after the next step"
    with world(3) as three:
        for at in ("with one", "with three"):
            _copy(tmp_path / "two", tmp_path / at)
        one = rank_runs.shared(None, {}, tmp_path / "with one", resume=True)
        several = three.run(_shared, tmp_path / "with three", {"resume": True})
        for got in (one, *several):
            assert not isinstance(got, Failed), got
            assert_like(got, undisturbed)
            assert got["exchanged"]["steps"] == (2 if got is one else 2 * runs.STEPS)
        assert_same_sets(tmp_path / "with one", tmp_path / "one")
        assert_same_sets(tmp_path / "with three", tmp_path / "one")

        for rank in range(3):
            three.tell(rank, _shared, tmp_path / "killed", {"epochs": 10**6, "checkpoint_every": 2})
        while checkpoint.latest(tmp_path / "killed") is None:
            time.sleep(0.1)
        time.sleep(1)
        three.kill(2, signal.SIGKILL)
        began = time.monotonic()
        for rank in (0, 1):
            got = three.answer(rank)
            assert isinstance(got, Failed)
            assert got.kind == "RankFailed", got
            assert "rank 2 ended, or does not answer" in got.message
        assert time.monotonic() - began < 30
    left = checkpoint.newest(tmp_path / "killed")  # whole, or this raises
    assert left is not None
    assert left.facts["position"]["step"] + left.facts["position"]["epoch"] > 0


def _copy(folder: Path, other: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            target = other / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"gradients": "in_place"}, "ValueError", "with 2 ranks expected sum"),
        ({"sampler": "importance"}, "ValueError", "Importance draws by gradients"),
        ({"batch_size": 1}, "ValueError", "expected at least 2, or fewer ranks"),
        ({"budget": 1000}, "BudgetExceeded", "hold no plan with gradient sums"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_ranks_cannot_share_is_refused(two: World, changes: dict[str, Any], kind: str, expected: str) -> None:
    for got in two.run(_shared, None, changes):
        assert got.kind == kind, got
        assert expected in got.message


def test_ranks_with_other_pictures_are_told(two: World) -> None:
    two.tell(0, _shared, None, {})
    two.tell(1, _shared, None, {"data": "uneven"})
    for rank in range(2):
        got = two.answer(rank)
        assert got.kind == "RanksDiffer", got
        assert "rank 1 has another picture or setting (data (train)) than rank 0" in got.message
