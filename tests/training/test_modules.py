"""``SparseConv2d`` inside any autograd graph, and ``nn.replace``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import sparsebp
import torch
from networks import residual_network
from sparse_modules import OPTIMIZERS, convolution, images, optimizers
from sparsebp.nn import SparseConv2d, replace
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy
from training import assert_same, converted, everything, one_thread  # noqa: F401


class Odd(nn.Module):
    """Convolutions where no straight line of layers could have them: skipped over, divided by, concatenated."""

    def __init__(self, wrap: Callable[[nn.Conv2d], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = wrap(nn.Conv2d(8, 8, 3, padding=1, groups=2))
        self.right = wrap(nn.Conv2d(8, 8, 1, bias=False))
        self.join = wrap(nn.Conv2d(16, 10, 3, stride=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.gelu(self.stem(x))
        left = self.left(x) * torch.sigmoid(self.right(x))
        both = torch.cat([left, x / (1 + self.right.weight.detach().norm())], 1)
        return self.join(both).amax((2, 3))


# -- in any graph ---------------------------------------------------------------------------------


def test_with_every_channel_it_is_the_convolution_it_stands_for() -> None:
    """Loss, every gradient and ten steps of SGD with momentum and of Adam."""
    for make in (OPTIMIZERS["SGD"], OPTIMIZERS["Adam"]):
        dense, sparse = Odd(lambda conv: conv).double(), Odd(lambda conv: SparseConv2d(conv.double(), 1.0)).double()
        opts = [make(m.parameters()) for m in (dense, sparse)]
        for i in range(10):
            x = images(4, 3, 9, 7, seed=i, dtype=torch.float64).requires_grad_()
            grads = []
            for model, opt in zip((dense, sparse), opts, strict=True):
                opt.zero_grad()
                x.grad = None
                cross_entropy(model(x), torch.tensor([1, 2, 3, 4])).backward()
                grads.append([x.grad.clone(), *(p.grad.clone() for p in model.parameters())])
                opt.step()
            for a, b in zip(*grads, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
        for (name, a), b in zip(dense.named_parameters(), sparse.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9, msg=name)


@optimizers
def test_a_network_of_them_learns(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = Odd(lambda conv: SparseConv2d(conv, 0.5))
    opt = make(model.parameters())
    x, y = images(8, 3, 10, 10), torch.arange(8)
    losses = []
    for _ in range(40):
        loss = cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_the_gradient_is_that_of_the_convolution_on_the_drawn_channels_and_zero_elsewhere(groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, padding=1, groups=groups)
    dense = copy.deepcopy(conv)
    layer = SparseConv2d(conv, 0.25, seed=3)
    x = images(2, 8, 6, 6)
    layer(x).square().sum().backward()
    dense(x).square().sum().backward()
    per_group = 8 // groups
    mask = torch.zeros(groups, 8 // groups, per_group)
    for c in layer.channels.tolist():
        mask[c // per_group, :, c % per_group] = 1
    expected = dense.weight.grad * mask.view(8, per_group, 1, 1)
    assert len(layer.channels) == 2
    torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.bias.grad, dense.bias.grad, rtol=1e-4, atol=1e-4)


def test_every_trained_forward_draws_and_evaluation_does_not() -> None:
    layer = SparseConv2d(convolution(), 0.25)
    x = images(1, 8, 5, 5)
    with pytest.raises(RuntimeError, match="no training forward pass yet"):
        _ = layer.channels
    seen = set()
    for _ in range(20):
        layer(x).sum().backward()
        drawn = layer.channels
        with torch.no_grad():
            layer(x)
        layer.eval()(x)
        layer.train()
        assert torch.equal(layer.channels, drawn)
        assert len(set(drawn.tolist())) == 2
        seen.add(tuple(drawn.tolist()))
    assert len(seen) > 5
    assert {c for s in seen for c in s} == set(range(8))


def test_under_our_sgd_the_update_is_in_place_and_there_is_no_grad() -> None:
    """The same channels train by as much as torch's SGD would move them."""
    ours, theirs = (SparseConv2d(convolution(), 0.25, seed=5) for _ in range(2))
    before = ours.weight.detach().clone()
    x = images(2, 8, 6, 6)
    opt = sparsebp.optim.SGD(ours.parameters(), lr=0.01, weight_decay=0.1)
    version = ours.weight._version
    ours(x).square().sum().backward()
    assert ours.weight.grad is None
    assert ours.bias.grad is None
    assert ours.weight._version > version
    moved = (ours.weight - before).abs().amax((0, 2, 3)) > 0
    assert moved.nonzero().flatten().tolist() == ours.channels.tolist()
    opt.step()
    theirs(x).square().sum().backward()
    assert torch.equal(theirs.channels, ours.channels)
    rows = ours.channels
    expected = before[:, rows] - 0.01 * (theirs.weight.grad + 0.1 * before)[:, rows]
    torch.testing.assert_close(ours.weight.detach()[:, rows], expected, rtol=1e-4, atol=1e-5)


def test_a_gradient_that_is_not_finite() -> None:
    """Under our SGD nothing may be written; under torch's it is autograd's to pass on."""
    layer = SparseConv2d(convolution(), 0.5)
    opt = sparsebp.optim.SGD(layer.parameters(), lr=0.1)
    before = everything(layer)
    with pytest.raises(FloatingPointError):
        (layer(images(1, 8, 5, 5)).sum() * float("nan")).backward()
    assert_same(everything(layer), before)
    layer(images(1, 8, 5, 5)).sum().backward()
    opt.step()
    assert not torch.equal(layer.weight, before["value of weight"])


# -- shapes and budgets ---------------------------------------------------------------------------


def test_the_shape_may_change_between_calls() -> None:
    layer, dense = SparseConv2d(convolution(), 0.5), convolution()
    for shape in ((1, 8, 5, 5), (3, 8, 5, 5), (2, 8, 9, 4), (0, 8, 4, 4), (1, 8, 5, 5)):
        x = images(*shape)
        y = layer(x)
        torch.testing.assert_close(y, dense(x), rtol=1e-4, atol=1e-5)
        y.sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(layer(x.double().float()), dense(x), rtol=1e-4, atol=1e-5)


def test_in_place_a_pass_of_another_shape_takes_the_place_of_one_that_waits() -> None:
    """The first to go back would change the weights of the other."""
    layer = SparseConv2d(convolution(), 0.5)
    opt = sparsebp.optim.SGD(layer.parameters(), lr=0.1)
    first = layer(images(1, 8, 6, 6).requires_grad_())
    second = layer(images(1, 8, 9, 9).requires_grad_())
    before = everything(layer)
    with pytest.raises(RuntimeError, match="took this one's place"):
        first.sum().backward()
    assert_same(everything(layer), before)
    second.sum().backward()
    opt.step()
    assert not torch.equal(layer.weight, before["value of weight"])
    layer(images(1, 8, 9, 9)).sum().backward()


def test_a_pass_of_one_shape_goes_back_after_inference_of_another() -> None:
    layer, twin = (SparseConv2d(convolution(), 0.5) for _ in range(2))
    for module in (layer, twin):
        y = module(images(2, 8, 6, 6))
        if module is layer:
            with torch.no_grad():
                module(images(1, 8, 9, 9))
                module(images(2, 8, 6, 6, seed=1))
        y.square().sum().backward()
    assert torch.equal(layer.weight.grad, twin.weight.grad)


def test_the_budget_is_kept_to_the_byte_and_one_less_is_refused() -> None:
    x = images(2, 8, 6, 6)
    free = SparseConv2d(convolution(), 0.5)
    free(x).sum().backward()
    program = free.runner().last.program
    needed = program.training_peak
    assert program.arena.peak == program.arena.capacity == needed
    tight = SparseConv2d(convolution(), 0.5, budget=needed)
    tight(x).sum().backward()
    assert torch.equal(tight.weight.grad, free.weight.grad)
    short = SparseConv2d(convolution(), 0.5, budget=needed - 1)
    before = everything(short)
    with pytest.raises(sparsebp.BudgetExceeded, match=r"SparseConv2d: an input \[2, 8, 6, 6\]") as caught:
        short(x)
    assert (caught.value.required, caught.value.budget) == (needed, needed - 1)
    assert_same(everything(short), before)
    short(images(1, 8, 4, 4)).sum().backward()
    assert short.weight.grad is not None


def test_evaluation_needs_no_budget() -> None:
    layer, dense = SparseConv2d(convolution(), 0.5, budget=1000), convolution()
    x = images(16, 8, 20, 20)
    torch.testing.assert_close(layer.eval()(x), dense(x), rtol=1e-4, atol=1e-5)


# -- replace --------------------------------------------------------------------------------------


def test_replace_puts_them_in_the_places_that_match() -> None:
    model, original = residual_network().eval(), residual_network().eval()
    x = images(2, 3, 16, 16)
    model[4].train()
    names = replace(model, "4.*", 0.5, sampler="cyclic", seed=7)
    assert names == ["4.body.0.0", "4.body.1.0", "4.body.2.0"]
    assert {n for n, m in model.named_modules() if isinstance(m, SparseConv2d)} == set(names)
    assert all(model.get_submodule(n).training for n in names)
    assert model.get_submodule(names[0]).selected == 8
    assert model.state_dict().keys() == original.state_dict().keys()
    torch.testing.assert_close(model.eval()(x), original(x), rtol=1e-4, atol=1e-4)


def test_replaced_convolutions_of_one_shape_draw_differently_and_samplers_know_their_names() -> None:
    asked: list[str] = []

    class Ask(sparsebp.samplers.Sampler):
        def select(self, name: str, channels: int, count: int, turn: int) -> range:
            asked.append(name)
            return range(count)

    drawn = []
    for seed in (7, 7, 8):
        model = nn.Sequential(nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1))
        replace(model, "*", 0.5, seed=seed)
        model(images(1, 16, 4, 4))
        drawn.append([layer.channels.tolist() for layer in model])
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0][0] != drawn[0][1]
    model = nn.Sequential(nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1))
    replace(model, "*", 0.5, sampler=Ask())
    model(images(1, 16, 4, 4))
    assert set(asked) == {"0", "1"}


def test_a_network_with_replaced_convolutions_trains_them_alone() -> None:
    model = residual_network().requires_grad_(False)
    names = replace(model, "*body*", 0.25)
    for name in names:
        model.get_submodule(name).requires_grad_(True)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    opt = sparsebp.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    cross_entropy(model(images(4, 3, 16, 16)), torch.arange(4)).backward()
    opt.step()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {f"{n}.weight" for n in names}


def test_a_failed_replacement_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"))
    shared = nn.Conv2d(3, 3, 1)
    cases: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
        (model, "nothing", {}, ValueError, "matches no"),
        (model, "*", {}, ValueError, "padding_mode"),
        (model, "0", {"ratio": 0.0}, ValueError, "ratio"),
        (model, "0", {"other": 1}, TypeError, "other"),
        (model, 3, {}, TypeError, "pattern: expected a glob"),
        (nn.Sequential(shared, nn.ReLU(), shared), "*", {}, ValueError, "tied"),
        (nn.Conv2d(3, 3, 1), "*", {}, ValueError, "matches no"),
        (None, "*", {}, TypeError, "model: expected"),
        (converted(), "*", {}, TypeError, "not converted"),
    ]
    for net, pattern, options, error, words in cases:
        before = list(net.modules()) if isinstance(net, nn.Module) else []
        with pytest.raises(error, match=words):
            replace(net, pattern, **options)
        assert before == (list(net.modules()) if isinstance(net, nn.Module) else [])
