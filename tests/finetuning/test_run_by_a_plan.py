"""A run by a plan that was made before: its settings come from there, and nothing is planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sparsebp
from runs import SETTINGS, SIDE, assert_same_run, dataset, finetune, interrupt, network
from sparsebp import Plan
from sparsebp.finetuning import CheckpointError
from sparsebp.planning.planner import Planner

#: What a plan does not know of a run.
REST = {"epochs": 2, "batch_size": 8, "lr": 0.1, "bias_lr": 0.1, "classifier_lr": 0.05}
REST |= {"dense_audit": False, "recipe": False}


def plan_of_the_run(**keywords: Any) -> Plan:
    return sparsebp.plan(network(), SETTINGS["budget"], input_size=(3, SIDE, SIDE), **keywords)


def no_planner(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("planned again")

    patch.setattr(Planner, "best", refuse)


def by_plan(out: Path, plan: Plan, **changes: Any) -> sparsebp.FineTuned:
    """A run that is told nothing of what the plan knows, unless by ``changes``."""
    return sparsebp.finetune(network(), dataset(), out=out, plan=plan, **{**REST, **changes})


def test_it_ends_as_the_run_that_plans_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finetune(tmp_path / "itself")
    plan = Plan.from_json(plan_of_the_run().to_json())
    no_planner(monkeypatch)
    result = by_plan(tmp_path / "by plan", plan)
    assert result.plan == plan
    assert_same_run(tmp_path / "by plan", tmp_path / "itself")


def test_it_takes_what_the_plan_was_made_with(tmp_path: Path) -> None:
    settings = {"sampler": "cyclic", "resample_every": 2, "normalise": True, "gradients": "sum", "seed": 5}
    plan = plan_of_the_run(**settings, batch_size=2)
    result = by_plan(tmp_path, plan, epochs=1, lr=0.001, bias_lr=None, classifier_lr=None)
    assert result.plan == plan
    assert result.memory.measured == plan.peak_bytes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": "32KB"}, "budget: 32768 was given, but the plan was made with 16384"),
        ({"micro_batch": 2}, "micro_batch: 2 was given, but the plan was made with 1"),
        ({"input_size": 32}, r"input_size: \[32, 32\] was given, but the plan was made with \[16, 16\]"),
        ({"normalise": True}, "normalise: True was given"),
        ({"sampler": "cyclic"}, r"sampler: .*cyclic.* was given"),
        ({"momentum": 0.9}, r"momentum: 0\.9 was given, but the plan reserves none"),
    ],
    ids=str,
)
def test_what_contradicts_the_plan_is_refused_by_name(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        by_plan(tmp_path / "run", plan_of_the_run(), **changes)
    assert not (tmp_path / "run").exists()


def test_what_is_no_plan_is_refused() -> None:
    with pytest.raises(TypeError, match=r"plan: expected a sparsebp\.Plan"):
        sparsebp.finetune(network(), "pictures", plan="plan.json")


def test_a_resumed_run_keeps_its_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finetune(tmp_path / "undisturbed")
    interrupt(tmp_path / "run", "stepped", 2)
    plan, other = plan_of_the_run(), plan_of_the_run(max_update_ratio=0.3)
    no_planner(monkeypatch)
    with pytest.raises(CheckpointError, match=r"max_update_ratio=None, now max_update_ratio=0\.3"):
        by_plan(tmp_path / "run", other, resume=True)
    by_plan(tmp_path / "run", plan, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
