"""Two processes that share the pictures of every step train what one process trains with all of them."""

from __future__ import annotations

from typing import Any

import pytest
import rank_work
import torch
from training import one_thread  # noqa: F401 - a fixture
from worlds import Failed, World

FLOAT64 = 1e-12
"""Sums in another order, over some steps."""
FIFTY_STEPS = 5e-3
"""In float32: what the design calls within rounding."""


def distance(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> float:
    """``norm(dW - dW_ref) / norm(dW_ref)`` over all weights."""

    def change(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([(weights[name] - before[name]).double().flatten() for name in before])

    reference = change(expected)
    assert reference.norm() > 0
    return float((change(got) - reference).norm() / reference.norm())


CASES: dict[str, tuple[list[int], dict[str, Any], float]] = {
    "fifty steps in float32": ([2] * 50, {"dtype": torch.float32}, FIFTY_STEPS),
    "fifty steps in float64": ([2] * 50, {}, FLOAT64),
    "micro-batches of two": ([8, 8, 5], {"batch_size": 2}, FLOAT64),
    "unequal batches": ([5, 3, 7], {}, FLOAT64),
    "a rank without pictures": ([4, 1, 1, 4], {}, FLOAT64),
    "a step without pictures": ([4, 0, 4], {}, FLOAT64),
    "gradient clipping": ([4] * 4, {"clip": 0.5}, FLOAT64),
    "momentum and weight decay": (
        [4] * 8,
        {"momentum": True, "momentum_of": 0.9, "weight_decay": 0.01, "resample_every": 3},
        FLOAT64,
    ),
    "normalised steps": ([4] * 20, {"normalise": True, "lr": 0.001}, FLOAT64),
    "learned pictures": ([4, 1, 4, 3, 2] * 2, {"skip": 0.12}, FLOAT64),
    "every picture learned": ([4, 4], {"skip": 0.0}, FLOAT64),
    "dropout": ([4, 3, 4], {"dropout": 0.5}, FLOAT64),
    "rounds of channels": ([2] * 6, {"sampler": "cyclic"}, FLOAT64),
    "the whole step in the budget": ([4, 3], {"scope": "step", "dtype": torch.float32}, FIFTY_STEPS),
}


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_what_one_process_trains(two: World, case: str) -> None:
    counts, settings, tolerance = CASES[case]
    expected = rank_work.train(None, counts, **settings)
    first, second = two.run(rank_work.trained, counts, settings)
    for rank, got in enumerate((first, second)):
        assert not isinstance(got, Failed), got
        assert got["sets"] == expected["sets"]
        assert got["state"] == expected["state"]
        assert got["coverage"] == expected["coverage"]
        assert got["norms"] == pytest.approx(expected["norms"], rel=1e-9)
        assert got["peak"] == got["predicted"] == expected["peak"]
        assert all(torch.equal(first["after"][name], weight) for name, weight in got["after"].items()), rank
        if case == "every picture learned":
            assert got["after"].keys() == expected["before"].keys()
            assert all(torch.equal(got["after"][name], w) for name, w in expected["before"].items())
        else:
            assert distance(got["after"], expected["after"], expected["before"]) <= tolerance


def test_what_torch_trains_beside_the_network_is_added_up_too(two: World) -> None:
    expected = rank_work.with_head(None, {}, 9)
    before = rank_work.with_head(None, {}, 0)
    for got in two.run(rank_work.with_head, 9):
        assert distance(got, expected, before) <= FLOAT64


# -- bytes -------------------------------------------------------------------------------------------


def test_what_is_reported_is_what_the_kernel_sent(two: World) -> None:
    """gloo adds the headers of its messages, about a thousand bytes a step."""
    few, many = two.run(rank_work.sent_while_training, 10), two.run(rank_work.sent_while_training, 60)
    for (less, _), (more, reported) in zip(few, many, strict=True):
        measured = (more - less) / 50
        assert reported["steps"] == 60
        assert reported["exchanged"] == 60 * reported["step"]
        assert reported["step"] <= measured <= reported["step"] + 2000
        assert reported["step"] < 0.4 * reported["dense"]


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"gradients": "in_place"}, 'convert it with gradients="sum"'),
        ({"sampler": "importance"}, "sampler: Importance draws by gradients"),
        ({"sampler": "top-k"}, "sampler: TopK draws by gradients"),
    ],
)
def test_what_cannot_be_added_up_is_refused(two: World, settings: dict[str, Any], expected: str) -> None:
    for got in two.run(rank_work.refuse, settings):
        assert got.kind == "ValueError"
        assert expected in got.message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": 7}, "another seed of the sampler than rank 0: 7, not 0"),
        ({"sampler": "cyclic"}, "another sampler than rank 0: Cyclic"),
        ({"max_update_ratio": 0.2}, "another channels ("),
        ({"lr": 0.02}, "another setting of parameter group 0 (lr) than rank 0: 0.02, not 0.01"),
        ({"shift": 1e-3}, "another set of weights (features.0.0.weight) than rank 0"),
        ({"batch_size": 2}, "another batch_size than rank 0: 2, not 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_ranks_that_differ_are_told_where(two: World, change: dict[str, Any], expected: str) -> None:
    for got in two.run(rank_work.begin, {1: change}):
        assert got.kind == "RanksDiffer"
        assert got.message.startswith("ranks: rank 1 has ")
        assert expected in got.message


def test_update_sets_that_differ_are_noticed_before_anything_changes(two: World) -> None:
    for got in two.run(rank_work.draw_apart):
        assert got.kind == "RanksDiffer"
        assert "another update set (" in got.message


def test_gradients_that_come_after_clipping_are_refused(two: World) -> None:
    for got in two.run(rank_work.late_backward):
        assert got.kind == "RuntimeError"
        assert "opt.step() first" in got.message
