"""A training forward pass whose loss is skipped: a newer one takes its place, and its own backward pass is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sparsebp
import torch
from networks import batch
from sparsebp.nn import SparseConv2d
from torch import nn
from torch.nn.functional import cross_entropy
from training import (
    LARGE,
    SIZE,
    assert_same,
    budgets,
    converted,
    everything,
    one_thread,  # noqa: F401
    sgd,
    step,
)

X, Y = batch(SIZE, 1)
OTHER, _ = batch(SIZE, 1, seed=5)


@budgets
def test_a_loop_may_skip_the_backward_pass_of_any_loss(budget: int) -> None:
    """It trains as a loop that never looked at the skipped images; the last ``loss`` still holds its graph."""
    model, twin = converted(budget), converted(budget)
    opts = [sgd(m) for m in (model, twin)]
    losses = []
    for i in range(6):
        x, y = batch(SIZE, 1, seed=i)
        loss = cross_entropy(model(x), y)
        losses.append(loss)  # whoever collects them keeps every graph
        if i % 3 != 1:
            continue
        loss.backward()
        opts[0].step()
        opts[0].zero_grad()
        step(twin, opts[1], seed=i)
        assert_same(weights(model), weights(twin))
        for layer in model.plan.layers:
            assert torch.equal(model.update_set(layer.name), twin.update_set(layer.name))
    assert model.engine.steps == twin.engine.steps == 2


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in model.state_dict().items()}


@budgets
def test_the_backward_pass_of_the_older_one_raises_and_changes_nothing(budget: int) -> None:
    model, twin = converted(budget), converted(budget)
    opts = [sgd(m, weight_decay=0.1) for m in (model, twin)]
    older = cross_entropy(model(OTHER), Y)
    newer = cross_entropy(model(X), Y)
    before = everything(model)
    with pytest.raises(RuntimeError, match=r"a newer training forward pass .* took this one's place") as caught:
        older.backward()
    assert "Run the forward pass again" in str(caught.value)
    assert_same(everything(model), before)
    newer.backward()  # it is not disturbed
    opts[0].step()
    opts[0].zero_grad()
    step(twin, opts[1])
    assert_same(weights(model), weights(twin))


@budgets
def test_a_loss_of_two_forward_passes_is_refused_before_either_updates(budget: int) -> None:
    model = converted(budget)
    opt = sgd(model)
    first, second = model(X), model(OTHER)
    before = everything(model)
    with pytest.raises(RuntimeError, match=r"needs two training forward passes.*Nothing was updated"):
        (cross_entropy(first, Y) + cross_entropy(second, Y)).backward()
    assert_same(everything(model), before)
    step(model, opt)


def test_the_update_set_stays_until_its_update_is_done() -> None:
    model = converted()
    opt = sgd(model)
    layer = next(layer.name for layer in model.plan if layer.selected < layer.channels)
    step(model, opt)
    drawn = []
    for seed in range(4):
        loss = cross_entropy(model(batch(SIZE, 1, seed=seed)[0]), Y)
        drawn.append(model.update_set(layer).tolist())
    assert all(channels == drawn[0] for channels in drawn)
    loss.backward()
    opt.step()
    model(X)
    assert model.update_set(layer).tolist() != drawn[0]


def test_a_batch_that_fails_before_its_forward_pass_leaves_the_one_that_waits() -> None:
    model, twin = converted(), converted()
    for m in (model, twin):
        opt = sgd(m)
        loss = cross_entropy(m(X), Y)
        if m is model:
            with pytest.raises(ValueError, match="x: expected"):
                m(torch.zeros(1, 3, 9, 9))
            with pytest.raises(ValueError, match="at most batch_size=1"):
                m(batch(SIZE, 2)[0])
        loss.backward()
        opt.step()
    assert_same(everything(model), everything(twin))


# -- one convolution at a time --------------------------------------------------------------------


def net() -> nn.Sequential:
    torch.manual_seed(0)
    convs = [SparseConv2d(nn.Conv2d(3, 8, 3, padding=1), 1.0), SparseConv2d(nn.Conv2d(8, 6, 1), 0.5)]
    return nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.AdaptiveAvgPool2d(1), nn.Flatten())


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "ours": lambda p: sparsebp.optim.SGD(p, lr=0.1),
    "torch's": lambda p: torch.optim.SGD(p, lr=0.1),
}
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


@optimizers
def test_replaced_convolutions_skip_too(make: Callable[..., torch.optim.Optimizer]) -> None:
    model, twin = net(), net()
    opts = [make(m.parameters()) for m in (model, twin)]
    x, y = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(1)), torch.tensor([1, 2])
    kept = [cross_entropy(model(x + i), y) for i in range(3)]
    for m, opt in zip((model, twin), opts, strict=True):
        for _ in range(3):
            cross_entropy(m(x), y).backward()
            opt.step()
            opt.zero_grad()
    assert torch.equal(model[2].channels, twin[2].channels)
    assert_same(weights(model), weights(twin))
    before = weights(model)
    # Where autograd's own weights have changed since, it speaks first.
    with pytest.raises(RuntimeError, match=r"took this one's place|modified by an inplace operation"):
        kept[-1].backward()
    assert_same(weights(model), before)


def test_a_convolution_used_twice_in_one_loss_is_refused_before_any_layer_updates() -> None:
    model = net()
    opt = sparsebp.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(1)), torch.tensor([1, 2])
    before = weights(model)
    with pytest.raises(RuntimeError, match="needs two training forward passes"):
        (cross_entropy(model(x), y) + cross_entropy(model(2 * x), y)).backward()
    assert_same(weights(model), before)
    cross_entropy(model(x), y).backward()
    opt.step()


# -- what else takes off --------------------------------------------------------------------------


def test_a_move_ends_a_pass_that_waits_and_says_so() -> None:
    model = converted(LARGE)
    opt = sgd(model)
    loss = cross_entropy(model(X), Y)
    model.engine.load_state(model.engine.state())
    with pytest.raises(RuntimeError, match="its saved channels are gone"):
        loss.backward()
    step(model, opt)
