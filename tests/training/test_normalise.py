"""Normalised steps: every parameter's rate divided by the root of its gradient's running mean square."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from sparsebp import SparseModel
from sparsebp.optim import SGD
from sparsebp.training.rules import SQUARE_DECAY
from torch import nn
from torch.nn.functional import cross_entropy

SIZE = (3, 32, 32)
IN_PLACE, SUMS = "512KB", "4MB"
FIRST = 16  # passes that update in place and only measure
RATE = 1e-3


def converted(budget: str = SUMS, batch_size: int = 1, **settings: Any) -> SparseModel:
    model = sparsebp.convert(
        tiny_mobilenet(calm=True).double(),
        budget,
        input_size=SIZE,
        batch_size=batch_size,
        normalise=True,
        ratios={"*": 1.0},
        gradients="sum" if budget == SUMS else "in_place",
        **settings,
    )
    assert model.plan.gradient_sums == (budget == SUMS)
    return model.train()


def images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = batch(SIZE, count, seed=seed)
    return x.double(), y


def train(model: SparseModel, opt: SGD, x: torch.Tensor, y: torch.Tensor, scale: float = 1.0) -> None:
    (scale * cross_entropy(model(x), y)).backward()
    opt.step()
    opt.zero_grad()


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def trained_names(model: SparseModel) -> list[str]:
    trained = {id(p) for p in model.trained_parameters()}
    return [n for n, p in model.named_parameters() if id(p) in trained]


class Reference:
    """The rule as plain arithmetic on a plain copy of the network, all of whose channels are selected."""

    def __init__(self, model: SparseModel, rate: float, decay: float = 0.0, momentum: float = 0.0) -> None:
        self.names = trained_names(model)
        self.model = copy.deepcopy(sparsebp.restore(copy.deepcopy(model))).eval()
        self.rate, self.decay, self.momentum = rate, decay, momentum
        self.squares = dict.fromkeys(self.names, 0.0)
        self.moving: dict[str, torch.Tensor] = {}
        self.passes = 0

    def train(self, x: torch.Tensor, y: torch.Tensor, in_place: bool, share: float = 1.0) -> None:
        self.model.zero_grad()
        cross_entropy(self.model(x), y).backward()
        parameters = dict(self.model.named_parameters())
        known = 1 - SQUARE_DECAY**self.passes
        self.passes += 1
        for name in self.names:
            p = parameters[name]
            assert p.grad is not None
            before = self.squares[name]
            after = SQUARE_DECAY * before + (1 - SQUARE_DECAY) * p.grad.square().mean().item()
            self.squares[name] = after
            if in_place:
                root = math.sqrt(before / known) if self.passes > FIRST else 0.0
            else:
                root = math.sqrt(after / (1 - SQUARE_DECAY**self.passes))
            step = p.grad + self.moving.get(name, torch.zeros_like(p)) * self.momentum
            with torch.no_grad():
                if self.momentum:
                    self.moving[name] = step + (self.decay * root * p if root else 0.0)
                if root:
                    p -= self.rate * math.sqrt(share) * (step / root + self.decay * p)


def assert_equal(model: SparseModel, reference: Reference, start: dict[str, torch.Tensor]) -> None:
    """They went the same way: single-precision squares and a bound on vanishing ones are all that differs."""
    expected = dict(reference.model.named_parameters())
    for name, p in model.named_parameters():
        moved = (expected[name] - start[name]).abs().max().item()
        assert (p - expected[name]).abs().max().item() <= 1e-4 * moved, name


def test_with_gradient_sums_the_first_step_of_every_parameter_has_the_rates_size() -> None:
    model = converted()
    before = values(model)
    train(model, SGD(model, lr=RATE, normalise=True), *images(1, 0))
    for name in trained_names(model):
        step = (dict(model.named_parameters())[name] - before[name]).square().mean().sqrt().item()
        assert step == pytest.approx(RATE, rel=1e-4), name


def test_scores_leave_the_size_of_a_step_from_gradient_sums_alone() -> None:
    """Importance measures every micro-batch; a step is divided by the size of their sum."""
    settings = {
        "input_size": SIZE,
        "normalise": True,
        "sampler": "importance",
        "ratios": {"*": 0.5},
        "gradients": "sum",
    }
    model = sparsebp.convert(tiny_mobilenet(calm=True).double(), SUMS, **settings).train()
    assert model.plan.gradient_sums
    before = values(model)
    sparsebp.fit_step(model, SGD(model, lr=RATE, normalise=True), *images(4, 0), cross_entropy)
    sampled = [layer for layer in model.plan.layers if layer.selected < layer.channels and layer.kind == "pointwise"]
    assert sampled
    for layer in sampled:
        step = dict(model.named_parameters())[f"{layer.name}.weight"] - before[f"{layer.name}.weight"]
        size = step[:, model.update_set(layer.name)].square().mean().sqrt().item()
        assert size == pytest.approx(RATE, rel=1e-4), layer.name


@pytest.mark.parametrize("rule", [{}, {"decay": 0.1}], ids=["plain", "weight decay"])
def test_gradient_sums_follow_the_rule(rule: dict[str, float]) -> None:
    model = converted()
    start, reference = values(model), Reference(model, RATE, **rule)
    opt = SGD(model, lr=RATE, normalise=True, weight_decay=rule.get("decay", 0.0))
    for seed in range(6):
        x, y = images(1, seed)
        train(model, opt, x, y)
        reference.train(x, y, in_place=False)
    assert_equal(model, reference, start)


@pytest.mark.parametrize("rule", [{}, {"decay": 0.1}], ids=["plain", "weight decay"])
def test_updates_in_place_divide_by_what_earlier_passes_measured(rule: dict[str, float]) -> None:
    model = converted(IN_PLACE)
    start, reference = values(model), Reference(model, RATE, **rule)
    opt = SGD(model, lr=RATE, normalise=True, weight_decay=rule.get("decay", 0.0))
    for seed in range(FIRST + 4):
        x, y = images(1, seed)
        train(model, opt, x, y)
        reference.train(x, y, in_place=True)
        assert (seed < FIRST) == all(torch.equal(p, start[n]) for n, p in model.named_parameters())
    assert_equal(model, reference, start)


def test_micro_batches_add_up_like_a_random_walk() -> None:
    model = converted(IN_PLACE)
    start, reference = values(model), Reference(model, RATE)
    opt = SGD(model, lr=RATE, normalise=True)
    for seed in range(6):
        x, y = images(4, seed)
        sparsebp.fit_step(model, opt, x, y, cross_entropy)
        for i in range(4):
            reference.train(x[i : i + 1], y[i : i + 1], in_place=True, share=1 / 4)
    assert_equal(model, reference, start)


@pytest.mark.parametrize("budget", [IN_PLACE, SUMS], ids=["in place", "sums"])
def test_the_size_of_the_loss_does_not_matter(budget: str) -> None:
    models = [converted(budget), converted(budget)]
    start = values(models[0])
    for model, scale in zip(models, (1.0, 1000.0), strict=True):
        opt = SGD(model, lr=RATE, normalise=True)
        for seed in range(FIRST + 3):
            train(model, opt, *images(1, seed), scale=scale)
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert (a - b).abs().max() <= 1e-3 * (a - start[name]).abs().max(), name


def test_selected_channels_alone_move_and_their_squares_alone_count() -> None:
    model = sparsebp.convert(
        tiny_mobilenet(calm=True).double(), SUMS, input_size=SIZE, normalise=True, ratios={"*": 0.25}, gradients="sum"
    ).train()
    before = values(model)
    train(model, SGD(model, lr=RATE, normalise=True), *images(1, 0))
    sizes = {}
    for layer in model.plan:
        moved = dict(model.named_parameters())[f"{layer.name}.weight"] - before[f"{layer.name}.weight"]
        sizes[layer.name] = math.sqrt(moved.square().sum().item() / layer.weights)
    assert all(size == pytest.approx(RATE, rel=1e-4) for size in sizes.values()), sizes


def test_parameters_outside_the_program_follow_the_rule_too() -> None:
    model, extra = converted(), nn.Parameter(torch.tensor([3.0, -4.0], dtype=torch.float64))
    opt = SGD([{"params": model.trained_parameters()}, {"params": [extra]}], lr=RATE, normalise=True)
    x, y = images(1, 0)
    (cross_entropy(model(x), y) + 5 * extra.sum()).backward()
    opt.step()
    assert extra.tolist() == pytest.approx([3.0 - RATE, -4.0 - RATE])


def test_a_gradient_that_overflows_is_forgotten() -> None:
    model, extra = converted(), nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    opt = SGD([{"params": model.trained_parameters()}, {"params": [extra]}], lr=RATE, normalise=True)
    for gradient in (1.0, 1e200, 1.0):
        extra.grad = torch.tensor([gradient], dtype=torch.float64)
        opt.step()
    assert opt.state[extra]["square"] == pytest.approx((1 - SQUARE_DECAY**2, 1 - SQUARE_DECAY**2))


def test_groups_differ() -> None:
    model = converted()
    shifts = [p for p in model.trained_parameters() if p.dim() == 1]
    others = [p for p in model.trained_parameters() if p.dim() > 1]
    opt = SGD([{"params": shifts, "normalise": True}, {"params": others}], lr=RATE)
    before = values(model)
    train(model, opt, *images(1, 0))
    steps = {n: (p - before[n]).square().mean().sqrt().item() for n, p in model.named_parameters()}
    for name, p in model.named_parameters():
        if any(p is shift for shift in shifts):
            assert steps[name] == pytest.approx(RATE, rel=1e-4)
        elif any(p is other for other in others):
            assert steps[name] != pytest.approx(RATE, rel=0.01)


def test_two_floats_a_parameter_are_planned() -> None:
    model = converted(IN_PLACE)
    (squares,) = (b for b in model.plan.buffers if b.name == "mean squares")
    count = len(list(model.trained_parameters()))
    assert (squares.bytes, squares.category) == (8 * count, "optimizer")
    assert sum(layer.bytes["optimizer"] for layer in model.plan) == 8 * count
    assert model.plan.normalise


def test_squares_are_kept_with_the_state() -> None:
    models = [converted(IN_PLACE), converted(IN_PLACE)]
    optimizers = [SGD(m, lr=RATE, normalise=True) for m in models]
    for seed in range(FIRST + 1):
        train(models[0], optimizers[0], *images(1, seed))
    models[1].load_state_dict(models[0].state_dict())
    models[1].engine.load_state(models[0].engine.state())
    for model, opt in zip(models, optimizers, strict=True):
        train(model, opt, *images(1, 99))
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b), name


def test_wrong_requests_are_refused() -> None:
    plain = sparsebp.convert(tiny_mobilenet(), SUMS, input_size=SIZE)
    with pytest.raises(ValueError, match=r"normalise: the plan reserved no mean squares; convert with normalise=True"):
        SGD(plain, lr=RATE, normalise=True)
    opt = SGD(plain, lr=RATE)
    opt.param_groups[0]["normalise"] = True
    with pytest.raises(ValueError, match="normalise: the plan reserved no mean squares"):
        train(plain.train(), opt, *batch(SIZE, 1))
    with pytest.raises(TypeError, match="normalise: expected True or False, got int 1"):
        SGD(converted(), lr=RATE, normalise=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="normalise: expected True or False"):
        sparsebp.plan(tiny_mobilenet(), SUMS, input_size=SIZE, normalise="yes")
