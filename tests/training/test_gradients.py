"""What becomes of gradients is asked for, not left to the bytes that happen to be over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from runs import RUN, Run, here, run
from sparsebp import BudgetExceeded
from sparsebp.cli.errors import Exit
from torch import nn
from torch.nn.functional import cross_entropy
from training import SIZE, one_thread  # noqa: F401

__all__ = ["here", "run"]  # fixtures

X, Y = batch(SIZE, 8)
ALL = {"input_size": SIZE, "batch_size": 1, "ratios": {"*": 1.0}}
modes = pytest.mark.parametrize("gradients", ["in_place", "sum"])


def moved(budget: int, rules: dict[str, Any], steps: int = 3, **settings: Any) -> dict[str, torch.Tensor]:
    """What a few batches in micro-batches add to each weight."""
    model = sparsebp.convert(tiny_mobilenet(calm=True).double(), budget, **ALL, **settings).train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    opt = sparsebp.optim.SGD(model, lr=1e-3, **rules)
    for _ in range(steps):
        sparsebp.fit_step(model, opt, X.double(), Y, cross_entropy)
    return {n: t - before[n] for n, t in model.state_dict().items() if t.is_floating_point()}


RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "weight decay": ({}, {"weight_decay": 0.1}),
    "momentum": ({"momentum": True, "resample_every": 1000}, {"momentum": 0.9}),
    "normalised": ({"normalise": True}, {"normalise": True}),
}


@modes
@pytest.mark.parametrize("rule", RULES)
def test_equal_settings_move_the_weights_equally_whatever_bytes_are_left_over(rule: str, gradients: str) -> None:
    settings, rules = RULES[rule]
    least = sparsebp.min_budget(tiny_mobilenet().double(), **ALL, **settings, gradients=gradients)
    tight, roomy = (moved(least * factor, rules, gradients=gradients, **settings) for factor in (1, 16))
    assert any(change.abs().max() > 0 for change in tight.values())
    for name, change in tight.items():  # wider channel blocks add up in another order
        torch.testing.assert_close(roomy[name], change, rtol=1e-6, atol=1e-9)


@modes
def test_momentum_decays_with_every_micro_batch_in_place_and_with_every_batch_in_sums(gradients: str) -> None:
    """The two mean different things, which is why one of them is chosen. Every gradient of the bias is the same."""
    settings = {**ALL, "momentum": True, "resample_every": 1000, "gradients": gradients}
    model = sparsebp.convert(tiny_mobilenet().double(), "16MB", **settings).train()
    bias, slope = model.classifier[1].bias, torch.arange(10.0, dtype=torch.float64)
    before = bias.detach().clone()
    opt = sparsebp.optim.SGD([bias], lr=1e-3, momentum=0.9)
    sparsebp.fit_step(model, opt, X.double(), Y, lambda output, y: (output * slope).sum() / len(output))
    velocities = [sum(0.9**k for k in range(i + 1)) for i in range(len(X))]
    expected = sum(velocities) / len(X) if gradients == "in_place" else 1.0
    torch.testing.assert_close(bias - before, -1e-3 * expected * slope, rtol=1e-9, atol=0)


@modes
def test_the_smallest_budget_is_that_of_what_was_asked_for(gradients: str) -> None:
    net, settings = tiny_mobilenet(), {"input_size": SIZE, "gradients": gradients}
    least = sparsebp.min_budget(net, **settings)
    plan = sparsebp.plan(net, least, **settings)
    assert plan.peak_bytes == least
    assert plan.gradients == json.loads(plan.to_json())["gradients"] == gradients
    assert plan.gradient_sums is (gradients == "sum")
    words = "plan with gradient sums" if gradients == "sum" else "plan for batch 1"
    for refuse in (sparsebp.plan, sparsebp.convert, sparsebp.explain):
        reason = f"hold no {words}.* smallest budget that works is {least:,} bytes"
        with pytest.raises(BudgetExceeded, match=reason) as caught:
            refuse(net, least - 1, **settings)
        assert (caught.value.required, caught.value.budget) == (least, least - 1)
    assert sparsebp.min_budget(net, input_size=SIZE) <= least


def test_sums_take_bytes_that_otherwise_buy_channels() -> None:
    net, settings = tiny_mobilenet(), {"input_size": SIZE}
    budget = 2 * sparsebp.min_budget(net, **settings, gradients="sum")
    in_place, summed = (sparsebp.plan(net, budget, **settings, gradients=g) for g in ("in_place", "sum"))
    assert summed.weights_per_step < in_place.weights_per_step
    assert summed.peak_by_category()["weight_gradients"] > 0 == in_place.peak_by_category()["weight_gradients"]


@pytest.mark.parametrize("wrong", ["sums", "In_place", "", None, True, 1])
def test_anything_else_is_refused(wrong: Any) -> None:
    net = tiny_mobilenet()
    for ask in (sparsebp.plan, sparsebp.convert, sparsebp.explain):
        with pytest.raises(ValueError, match="gradients: expected in_place or sum, got"):
            ask(net, "1MB", input_size=SIZE, gradients=wrong)
    with pytest.raises(ValueError, match="gradients: expected in_place or sum"):
        sparsebp.finetuning.Settings(gradients=wrong)


@modes
def test_the_plan_and_its_explanation_say_which(gradients: str) -> None:
    net = tiny_mobilenet()
    assert f"gradients {gradients}: " in str(sparsebp.plan(net, "1MB", input_size=SIZE, gradients=gradients))
    assert f"gradients {gradients}: " in str(sparsebp.convert(net, "1MB", input_size=SIZE, gradients=gradients).plan)
    text = "\n".join(sparsebp.explain(tiny_mobilenet(), "1MB", input_size=SIZE, gradients=gradients))
    assert ("summed in the arena" in text) is (gradients == "sum")
    assert ('gradients="sum"' in text) is (gradients == "in_place")


def test_clipping_needs_sums_however_large_the_budget() -> None:
    model = sparsebp.convert(tiny_mobilenet(), "16MB", input_size=SIZE).train()
    opt = sparsebp.optim.SGD(model, lr=0.1)
    with pytest.raises(RuntimeError, match='convert with gradients="sum"'):
        opt.clip_grad_norm_(1.0)
    model = sparsebp.convert(tiny_mobilenet(), "16MB", input_size=SIZE, gradients="sum").train()
    opt = sparsebp.optim.SGD(model, lr=0.1)
    cross_entropy(model(X[:1]), Y[:1]).backward()
    assert opt.clip_grad_norm_(1e-3) > 1e-3


def test_the_command_line_takes_it(run: Run) -> None:
    plan = ["plan", "--classes", "10", "--input-size", "64"]
    for gradients in ("in_place", "sum"):
        code, out, _ = run(*plan, "--budget", "16MB", "--gradients", gradients)
        assert (code, f"gradients {gradients}: " in out) == (Exit.OK, True)
    least = [json.loads(run(*plan, "--min-budget", "--json", "--gradients", g)[1]) for g in ("in_place", "sum")]
    assert least[0]["min_budget"] < least[1]["min_budget"]
    code, _, err = run(*plan, "--gradients", "twice")
    assert (code, "expected in_place or sum, got 'twice'" in " ".join(err.split())) == (Exit.USAGE, True)


def test_a_run_sums_if_it_is_told_to_and_says_so(here: Path, run: Run) -> None:
    for gradients in ("in_place", "sum"):
        rest = ["--budget", "32KB", "--gradients", gradients, "--epochs", "1", "--out", gradients]
        code, out, _ = run(*RUN, *rest)
        assert (code, f"bytes, gradients {gradients}\n" in out) == (Exit.OK, True)
        code, _, err = run(
            *RUN, *rest[:2], "--gradients", "sum" if gradients == "in_place" else "in_place", *rest[4:], "--resume"
        )
        assert code == Exit.USAGE
        assert f"--gradients: the run of {gradients}/checkpoint" in err
        assert f"began with {gradients}, got " in err


def test_every_keyword_of_convert_is_one_of_plan_and_min_budget() -> None:
    """One list of settings: what ``convert`` takes, with its defaults."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(TypeError, match=r"expected input_size, batch_size, .*gradients, seed, train_bias"):
        sparsebp.plan(net, "1MB", gradient="sum")
