"""A GradScaler multiplies the loss; where updates are part of the backward pass, that is refused before one is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import sparsebp
import torch
from networks import batch
from sparsebp.nn import replace
from torch import nn
from torch.nn.functional import cross_entropy
from training import (
    SIZE,
    assert_same,
    assert_trains,
    budgets,
    converted,
    everything,
    one_thread,  # noqa: F401
    sgd,
    step,
)

X, Y = batch(SIZE, 1)


@pytest.fixture(autouse=True)
def no_scaler_is_left() -> Iterator[None]:
    """One that lives on would be another test's."""
    yield
    gc.collect()


def scaler(**options: object) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [65536.0, 1024.0])
@budgets
def test_the_first_backward_pass_of_a_scaled_loss_raises_and_changes_nothing(budget: int, scale: float) -> None:
    model = converted(budget)
    opt = sgd(model, weight_decay=0.1)
    scales = scaler(init_scale=scale)
    loss = scales.scale(cross_entropy(model(X), Y))
    before = everything(model)
    with pytest.raises(RuntimeError, match=r"GradScaler multiplies the loss.*Nothing was updated") as caught:
        loss.backward()
    assert "enabled=False" in str(caught.value)
    assert_same(everything(model), before)
    assert_trains(model, opt)  # the scaler lives, and the loss is not scaled


@budgets
def test_it_is_noticed_after_a_resume_and_through_fit_step(budget: int) -> None:
    model = converted(budget)
    first = sgd(model)
    step(model, first)
    opt = sgd(model)
    opt.load_state_dict(first.state_dict())
    scales = scaler()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    wrong = (Y + 1) % 10  # a picture that is recognised has hardly a gradient
    with pytest.raises(RuntimeError, match="GradScaler"):
        sparsebp.fit_step(model, opt, X, wrong, lambda output, y: scales.scale(cross_entropy(output, y)))
    assert_same(model.state_dict(), before)
    assert model.engine.steps == 1


@pytest.mark.parametrize("options", [{"enabled": False}, {"init_scale": 1.0}], ids=str)
def test_a_scaler_that_scales_nothing_is_welcome(options: dict[str, object]) -> None:
    model, twin = converted(), converted()
    opt, scales = sgd(model), scaler(**options)
    loss = scales.scale(cross_entropy(model(X), Y) * 100)
    loss.backward()
    if not scales.is_enabled():
        scales.step(opt)
        scales.update()
    else:
        opt.step()
    other = sgd(twin)
    (cross_entropy(twin(X), Y) * 100).backward()
    other.step()
    assert torch.equal(model.classifier[1].weight, twin.classifier[1].weight)


def test_a_scaler_of_another_model_is_no_reason() -> None:
    dense, scales = nn.Linear(4, 2), scaler()
    opt = torch.optim.SGD(dense.parameters(), lr=0.1)
    scales.scale(dense(torch.ones(1, 4)).sum()).backward()
    scales.step(opt)
    scales.update()
    model = converted()
    assert_trains(model, sgd(model))


def test_without_a_scaler_a_steep_loss_is_the_users_own() -> None:
    model = converted()
    opt = sgd(model, lr=1e-6)
    for _ in range(2):
        (65536 * cross_entropy(model(X), Y)).backward()
        opt.step()


def test_dividing_a_loss_for_accumulation_is_fine() -> None:
    model = converted(batch_size=1)
    opt = sgd(model)
    scales = scaler()  # made, and never used
    for _ in range(4):
        (cross_entropy(model(X), Y) / 4).backward()
    opt.step()
    assert scales.is_enabled()


def test_a_scaler_that_steps_an_optimizer_with_native_parameters_is_refused() -> None:
    """A convolution in the middle of a network may see small gradients: what slips through is said after the pass."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    replace(model, "0", 0.5)
    opt, scales = sparsebp.optim.SGD(model.parameters(), lr=1e-9), scaler(init_scale=4.0)
    scales.scale(cross_entropy(model(X), torch.tensor([1]))).backward()
    last = model[4].weight.detach().clone()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"step: a torch\.amp\.GradScaler multiplies the loss"):
            scales.step(opt)
        assert torch.equal(model[4].weight, last)
    opt.step()  # the refusal leaves no trace
    assert not torch.equal(model[4].weight, last)


def test_an_optimizer_without_native_parameters_goes_with_a_scaler() -> None:
    model = nn.Linear(4, 2)
    opt, scales = sparsebp.optim.SGD(model.parameters(), lr=0.1), scaler()
    before = model.bias.detach().clone()
    scales.scale(model(torch.ones(1, 4)).sum()).backward()
    scales.step(opt)
    scales.update()
    torch.testing.assert_close(model.bias.detach(), before - 0.1)
