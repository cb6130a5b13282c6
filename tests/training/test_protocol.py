"""The protocol with autograd: what a training loop may do, and what every wrong use is told.

A refusal is a typed error that says what to do, leaves every weight and counter as it was, and does not stand
in the way of the next correct step.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from torch.nn.functional import cross_entropy
from training import (
    BUDGET,
    LARGE,
    SIZE,
    assert_same,
    assert_trains,
    budgets,
    converted,
    everything,
    one_thread,  # noqa: F401
    persistent,
    sgd,
    step,
)

X, Y = batch(SIZE, 1)


def held_between_steps(model: sparsebp.SparseModel) -> int:
    return sum(count for _, count in persistent(model))


# -- the update is part of the backward pass ------------------------------------------------------


@budgets
def test_weights_change_in_backward_exactly_when_the_plan_holds_no_gradient_sums(budget: int) -> None:
    model = converted(budget)
    opt = sgd(model)
    before = model.state_dict()["classifier.1.weight"].clone()
    cross_entropy(model(X), Y).backward()
    in_backward = not torch.equal(model.state_dict()["classifier.1.weight"], before)
    opt.step()
    in_all = not torch.equal(model.state_dict()["classifier.1.weight"], before)
    assert model.plan.gradient_sums == (budget == LARGE)
    assert in_backward != model.plan.gradient_sums
    assert in_all


@pytest.mark.parametrize(
    "attach",
    [
        lambda model: None,
        lambda model: torch.optim.SGD(model.trained_parameters(), lr=0.1),
        lambda model: sgd(model) and None,
    ],
    ids=["no optimizer", "torch's optimizer", "an optimizer that is gone"],
)
@budgets
def test_backward_without_an_optimizer_of_ours_raises(budget: int, attach: Callable[..., object]) -> None:
    model = converted(budget)
    opt = attach(model)
    gc.collect()
    loss = cross_entropy(model(X), Y)
    before = everything(model)
    with pytest.raises(RuntimeError, match=r"sparsebp\.optim\.SGD\(model, lr=") as caught:
        loss.backward()
    assert_same(everything(model), before)
    assert "torch.optim" in str(caught.value)
    assert opt is None or all(p.grad is None for p in model.parameters())
    # `loss` still holds the graph of the pass that failed; it is no obstacle.
    assert_trains(model, sgd(model))


@pytest.mark.parametrize(
    "misuse",
    [
        lambda m: torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0),
        lambda m: torch.nn.utils.clip_grad_value_(m.parameters(), 1.0),
        lambda m: torch.optim.SGD(m.trained_parameters(), lr=0.1).step(),
        lambda m: torch.optim.Adam(m.trained_parameters()).step(),
        lambda m: next(m.trained_parameters()).grad.norm(),
    ],
    ids=["clip_grad_norm_", "clip_grad_value_", "SGD", "Adam", "norm"],
)
def test_torch_cannot_silently_skip_native_parameters(misuse: Callable[[sparsebp.SparseModel], object]) -> None:
    """There is no gradient to clip or to step with; what stands in its place says so."""
    model = converted()
    opt = sgd(model)
    cross_entropy(model(X), Y).backward()
    before = everything(model)
    with pytest.raises(RuntimeError, match=r"sparsebp\.optim\.SGD"):
        misuse(model)
    assert_same(everything(model), before)
    opt.step()
    opt.zero_grad()
    assert_trains(model, opt)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@budgets
def test_a_gradient_that_is_not_finite_raises_before_anything_is_written(budget: int, factor: float) -> None:
    model = converted(budget)
    opt = sgd(model, weight_decay=0.1)
    loss = cross_entropy(model(X), Y) * factor
    before = everything(model)
    with pytest.raises(FloatingPointError, match="nothing was updated"):
        loss.backward()
    assert_same(everything(model), before)
    assert_trains(model, opt)


@pytest.mark.parametrize("isa", sparsebp._C.usable_isas())
def test_a_nan_in_the_image_reaches_the_loss(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBP_ISA", isa)
    model = converted(LARGE)
    x = X.clone()
    x[0, 1, 3, 3] = float("nan")
    assert model.engine.program.isa == isa
    opt = sgd(model)
    loss = cross_entropy(model(x), Y)
    assert loss.isnan()
    before = everything(model)
    with pytest.raises(FloatingPointError):
        loss.backward()
    assert_same(everything(model), before)
    assert_trains(model, opt)


def test_a_later_use_of_a_weight_that_was_saved_for_autograd_is_noticed() -> None:
    model = converted()
    opt = sgd(model)
    weight = dict(model.named_parameters())["classifier.1.weight"]
    penalty = (weight * weight).sum()
    version = weight._version
    cross_entropy(model(X), Y).backward()
    assert weight._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        penalty.backward()
    opt.step()


@pytest.mark.parametrize("images", [1, 3])
def test_dropout_follows_the_seed_and_changes_from_step_to_step(images: int) -> None:
    x = batch(SIZE, 1)[0].expand(images, -1, -1, -1)
    outputs = []
    for seed in (0, 0, 1):
        net = tiny_mobilenet(dropout=0.5)
        model = sparsebp.convert(net, BUDGET * images, input_size=SIZE, batch_size=images, seed=seed).train()
        outputs.append([model(x).detach() for _ in range(2)])
        assert torch.equal(model.eval()(x), model(x))
    assert torch.equal(outputs[0][0], outputs[1][0])
    assert torch.equal(outputs[0][1], outputs[1][1])
    assert not torch.equal(outputs[0][0], outputs[0][1])
    assert not torch.equal(outputs[0][0], outputs[2][0])
    assert not torch.equal(outputs[0][1], outputs[2][0])


# -- one forward pass in flight (test_superseded.py has those that lose their place) ----------------


@budgets
def test_a_second_backward_raises_and_changes_nothing(budget: int) -> None:
    model = converted(budget)
    opt = sgd(model)
    loss = cross_entropy(model(X), Y)
    loss.backward(retain_graph=True)
    before = everything(model)
    with pytest.raises(RuntimeError, match="used already"):
        loss.backward()
    assert_same(everything(model), before)
    opt.step()
    assert_trains(model, opt)


def test_the_backward_of_an_earlier_pass_does_not_disturb_the_one_in_flight() -> None:
    model = converted()
    opt = sgd(model)
    first = cross_entropy(model(X), Y)
    first.backward(retain_graph=True)
    second = cross_entropy(model(X), Y)
    with pytest.raises(RuntimeError, match="used already"):
        first.backward()
    second.backward()
    opt.step()


def test_a_dropped_output_gives_its_memory_back_and_frees_the_way() -> None:
    model = converted()
    opt = sgd(model)
    output = model(X)
    assert model.arena.used > held_between_steps(model)
    del output
    gc.collect()
    assert model.arena.used == held_between_steps(model)
    assert_trains(model, opt)


def test_inference_between_forward_and_backward_changes_nothing() -> None:
    model, twin = converted(batch_size=2), converted(batch_size=2)
    for m, interrupted in ((model, True), (twin, False)):
        opt = sgd(m)
        loss = cross_entropy(m(X), Y)
        if interrupted:
            with torch.no_grad():
                m(batch(SIZE, 5, seed=3)[0])
            m.eval()(batch(SIZE, 1, seed=4)[0])
            m.train()
        loss.backward()
        opt.step()
    assert_same(everything(model), everything(twin))


def test_no_grad_and_evaluation_save_nothing() -> None:
    model = converted()
    with torch.no_grad():
        assert not model(X).requires_grad
    assert not model.eval()(X).requires_grad
    assert model.arena.used == held_between_steps(model)
    assert not model.engine.program.in_flight


@pytest.mark.parametrize("numbers", [{"weight_decay": 0.1}, {"weight_decay": 0.1, "momentum": 0.9}], ids=str)
@budgets
def test_a_step_without_a_backward_pass_changes_nothing(budget: int, numbers: dict[str, float]) -> None:
    """As torch's does where ``.grad`` is None: neither weights nor momentum, and no new channels are due."""
    model = converted(4 * budget, momentum=True, gradients="sum" if budget == LARGE else "in_place")
    opt = sgd(model, **numbers)
    for _ in range(2):
        before = everything(model)
        opt.step()
        assert_same(everything(model), before)
        with torch.no_grad():
            model(X)
        cross_entropy(model(X), Y)  # a forward pass alone is no reason either
        before = everything(model)
        opt.step()
        assert_same(everything(model), before)
        step(model, opt)


@pytest.mark.parametrize("of", ["optimizer", "model"])
@pytest.mark.parametrize("to_none", [True, False])
def test_a_step_after_zero_grad_is_torchs(to_none: bool, of: str) -> None:
    """Without a gradient nothing happens; with one of zeros weight decay does."""
    model = converted(LARGE)
    opt = sgd(model, weight_decay=0.1)
    weight = model.classifier[1].weight
    before = weight.detach().clone()
    cross_entropy(model(X), Y).backward()
    (opt if of == "optimizer" else model).zero_grad(set_to_none=to_none)
    opt.step()
    expected = before if to_none else before * (1 - 0.05 * 0.1)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-6, atol=0)
    assert model.engine.steps == (0 if to_none else 1)


@budgets
def test_an_update_done_twice_or_never_is_not_needed_for_the_next_step(budget: int) -> None:
    """``step`` without ``backward``, and ``backward`` without ``step``, are odd but allowed."""
    model = converted(budget)
    opt = sgd(model)
    before = everything(model)
    opt.step()
    weights = {k: v for k, v in before.items() if k.startswith("value of")}
    assert_same({k: v for k, v in everything(model).items() if k in weights}, weights)
    cross_entropy(model(X), Y).backward()
    cross_entropy(model(X), Y).backward()
    opt.step()
    assert_trains(model, opt)


def test_threads_do_not_disturb_each_other() -> None:
    model = converted().eval()
    images, _ = batch(SIZE, 32)
    with torch.no_grad():
        expected = model(images)

    def run(_: int) -> bool:
        with torch.no_grad():
            return torch.equal(model(images), expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(40)))


def test_a_copied_optimizer_trains_the_copied_model() -> None:
    model = converted()
    other, opt = copy.deepcopy((model, sgd(model)))
    assert_trains(other, opt)
