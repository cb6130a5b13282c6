"""``fit_step(skip=...)``: micro-batches that are learned already need no backward pass."""

from __future__ import annotations

import copy

import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from torch.nn.functional import cross_entropy
from training import BUDGET, LARGE, SIZE, assert_same, budgets, converted, one_thread, sgd  # noqa: F401

X, Y = batch(SIZE, 4)


def trained(model: sparsebp.SparseModel, skip: object, images: torch.Tensor = X, labels: torch.Tensor = Y) -> float:
    return sparsebp.fit_step(model, sgd(model), images, labels, cross_entropy, skip=skip)


@budgets
def test_what_is_skipped_trains_nothing_but_its_loss_counts(budget: int) -> None:
    """The weights are those of a batch in which its gradient is zero."""

    def masked(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return cross_entropy(output, target) * (0.0 if int(target[0]) == int(Y[1]) else 1.0)

    model, expected = converted(budget), converted(budget)
    assert model.plan.gradient_sums is (budget == LARGE)
    loss = trained(model, lambda output, target: int(target[0]) == int(Y[1]))
    sparsebp.fit_step(expected, sgd(expected), X, Y, masked)
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=1e-6, atol=1e-7)
    if model.plan.gradient_sums:  # in place, later parts meet weights that earlier ones have changed
        with torch.no_grad():
            assert loss == pytest.approx(cross_entropy(converted(budget)(X), Y).item(), rel=1e-5)


@budgets
def test_it_is_asked_with_what_it_needs(budget: int) -> None:
    asked: list[tuple[tuple[int, ...], bool, int]] = []

    def skip(output: torch.Tensor, target: torch.Tensor) -> bool:
        asked.append((tuple(output.shape), output.requires_grad, int(target[0])))
        return False

    model, plain = converted(budget), converted(budget)
    assert trained(model, skip) == trained(plain, None)
    assert asked == [((1, 10), False, int(y)) for y in Y]
    assert_same(model.state_dict(), plain.state_dict())


@budgets
def test_a_batch_of_which_all_is_skipped_leaves_everything_as_it_is(budget: int) -> None:
    model = converted(budget)
    opt = sgd(model)
    before, steps = copy.deepcopy(model.state_dict()), model.engine.steps
    with torch.no_grad():
        expected = cross_entropy(model(X), Y).item()
    assert sparsebp.fit_step(model, opt, X, Y, cross_entropy, skip=lambda o, t: True) == pytest.approx(expected)
    assert_same(model.state_dict(), before)
    assert model.engine.steps == steps
    sparsebp.fit_step(model, opt, X, Y, cross_entropy)
    assert model.engine.steps == steps + 1


def test_an_error_while_it_decides_leaves_the_model_usable() -> None:
    model = converted()

    def skip(output: torch.Tensor, target: torch.Tensor) -> bool:
        raise LookupError("no such class")

    before = copy.deepcopy(model.state_dict())
    with pytest.raises(LookupError, match="no such class"):
        trained(model, skip)
    assert_same(model.state_dict(), before)
    trained(model, None)


def test_it_is_a_function() -> None:
    with pytest.raises(TypeError, match=r"skip: expected a function of \(output, targets\) or None, got float"):
        trained(sparsebp.convert(tiny_mobilenet(), BUDGET, input_size=SIZE).train(), 0.9)
