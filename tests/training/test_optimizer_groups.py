"""Groups of ``sparsebp.optim.SGD``: numbers that are refused, and which parameters each trains."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest
import torch
from networks import batch
from parameters import changed, names, weights
from sparsebp.optim import SGD
from torch.nn.functional import cross_entropy
from training import (
    BUDGET,
    LARGE,
    SIZE,
    assert_same,
    assert_trains,
    converted,
    everything,
    one_thread,  # noqa: F401
    step,
)

X, Y = batch(SIZE, 1)
budgets = pytest.mark.parametrize("budget", [BUDGET, LARGE], ids=["in-place", "sums"])


# -- wrong numbers --------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"lr": -0.1}, ValueError, "lr: expected a finite number"),
    ({"lr": math.nan}, ValueError, "lr: "),
    ({"lr": math.inf}, ValueError, "lr: "),
    ({"lr": "0.1"}, TypeError, "lr: expected a number, got str"),
    ({"lr": None}, TypeError, "lr: "),
    ({"lr": True}, TypeError, "lr: expected a number, got bool"),
    ({"lr": torch.tensor(0.1)}, TypeError, "lr: expected a number, got Tensor"),
    ({"lr": 0.1, "momentum": -0.5}, ValueError, "momentum: "),
    ({"lr": 0.1, "momentum": 0.9}, ValueError, r"reserved no momentum state; convert with momentum=True"),
    ({"lr": 0.1, "weight_decay": -1e-4}, ValueError, "weight_decay: "),
    ({"lr": 0.1, "weight_decay": math.nan}, ValueError, "weight_decay: "),
]


@pytest.mark.parametrize(("numbers", "error", "words"), WRONG, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_wrong_numbers_leave_the_optimizer_that_is_attached(
    numbers: dict[str, Any], error: type[Exception], words: str
) -> None:
    model = converted()
    opt = SGD(model, lr=0.05)
    some, *others = model.trained_parameters()
    with pytest.raises(error, match=words):
        SGD(model, **numbers)
    with pytest.raises(error, match=words):
        SGD([{"params": [some], "lr": 0.1}, {"params": others, **numbers}], lr=0.1)
    gc.collect()
    assert_trains(model, opt)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        (None, TypeError),
        (3, TypeError),
        ([], ValueError),
        (X, TypeError),
        ([1], TypeError),
        ([X * 1.0, X], ValueError),
    ],
    ids=["None", "int", "empty", "tensor", "list of ints", "not a leaf"],
)
def test_wrong_parameters(params: Any, error: type[Exception]) -> None:
    if isinstance(params, list) and len(params) == 2:
        params[0] = params[0].requires_grad_() * 2
    with pytest.raises(error):
        SGD(params, lr=0.1)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("momentum", 0.9, "reserved no momentum state"),
        ("momentum", -0.1, "momentum: |reserved no momentum"),
        ("lr", math.nan, "lr: expected a finite number"),
        ("lr", -0.1, "lr: "),
        ("weight_decay", -0.1, "weight_decay: "),
        ("weight_decay", math.inf, "weight_decay: "),
    ],
)
@budgets
def test_a_group_that_is_changed_to_a_wrong_number_raises_before_anything_is_written(
    budget: int, key: str, value: float, words: str
) -> None:
    model = converted(budget)
    opt = SGD(model, lr=0.05)
    loss = cross_entropy(model(X), Y)
    right, opt.param_groups[0][key] = opt.param_groups[0][key], value
    before = everything(model)
    with pytest.raises(ValueError, match=words):
        loss.backward()
    assert_same(everything(model), before)
    opt.param_groups[0][key] = right
    assert_trains(model, opt)


# -- groups ---------------------------------------------------------------------------------------


@budgets
def test_a_parameter_in_no_group_is_left_alone(budget: int) -> None:
    model = converted(budget)
    chosen = names(model)[-3:]
    opt = SGD([p for n, p in model.named_parameters() if n in chosen], lr=0.05)
    before = weights(model)
    step(model, opt)
    assert changed(model, before) == set(chosen)


@budgets
def test_a_second_optimizer_takes_over_with_its_own_parameters_only(budget: int) -> None:
    model = converted(budget)
    first = SGD(model, lr=0.05)
    step(model, first)
    chosen = names(model)[-2:]
    second = SGD([p for n, p in model.named_parameters() if n in chosen], lr=0.05)
    before = weights(model)
    step(model, second, seed=1)
    assert changed(model, before) == set(chosen)
    taken = model.engine.steps
    first.step()
    assert model.engine.steps == taken, "the optimizer that was replaced still counts steps"


@budgets
def test_every_group_has_its_own_rate_and_decay(budget: int) -> None:
    model, reference = converted(budget), converted(budget)
    low = [p for n, p in model.named_parameters() if n.startswith("features")]
    head = [p for n, p in model.named_parameters() if n.startswith("classifier")]
    before = weights(model)
    step(model, SGD([{"params": low, "lr": 0.0}, {"params": head, "lr": 0.1}], lr=1.0, weight_decay=0.01))
    assert changed(model, before) == {"classifier.1.weight", "classifier.1.bias"}
    step(reference, SGD(reference, lr=0.1, weight_decay=0.01))
    assert torch.equal(model.classifier[1].weight, reference.classifier[1].weight)
    assert torch.equal(model.classifier[1].bias, reference.classifier[1].bias)


def test_a_group_that_is_added_later_trains_and_one_that_is_refused_is_not_kept() -> None:
    model = converted()
    head = list(model.classifier.parameters())
    rest = [p for p in model.trained_parameters() if all(p is not h for h in head)]
    opt = SGD(head, lr=0.05)
    before = weights(model)
    step(model, opt)
    assert changed(model, before) == {"classifier.1.weight", "classifier.1.bias"}
    with pytest.raises(ValueError, match="momentum"):
        opt.add_param_group({"params": rest, "momentum": 0.9})
    assert len(opt.param_groups) == 1
    opt.add_param_group({"params": rest})
    assert_trains(model, opt)


def test_one_optimizer_trains_two_models() -> None:
    models = [converted(), converted(net_seed=1)]
    opt = SGD([p for m in models for p in m.trained_parameters()], lr=0.05)
    before = [weights(m) for m in models]
    loss = sum(cross_entropy(m(X), Y) for m in models)
    loss.backward()
    opt.step()
    for model, held in zip(models, before, strict=True):
        assert changed(model, held) == set(names(model))
        assert model.engine.steps == 1
