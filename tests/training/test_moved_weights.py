"""Weights whose memory or type changes after ``convert``: found again where that is possible, refused where not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from sparsebp import SparseModel
from torch import nn
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


def assign(model: SparseModel) -> None:
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)


def channels_last(model: SparseModel) -> None:
    model.to(memory_format=torch.channels_last)


def there_and_back(model: SparseModel) -> None:
    model.to(torch.float64).to(torch.float32)


def new_data(model: SparseModel) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous().clone()


def new_parameters(model: SparseModel) -> None:
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                setattr(module, name, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))


MOVES = [assign, channels_last, there_and_back, new_data, new_parameters]
moves = pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__)


@moves
def test_training_goes_on_in_the_new_memory(move: Callable[[SparseModel], None]) -> None:
    model, twin = converted(), converted()
    opts = [sparsebp.optim.SGD(m, lr=0.05) for m in (model, twin)]
    for m, opt in zip((model, twin), opts, strict=True):
        step(m, opt)
    move(model)
    for seed in (1, 2):
        assert step(model, opts[0], seed=seed) == step(twin, opts[1], seed=seed)
    assert_same(everything(model), everything(twin))
    assert_same(model.original.state_dict(), twin.original.state_dict())


@moves
def test_an_optimizer_made_after_the_move_trains(move: Callable[[SparseModel], None]) -> None:
    model = converted()
    move(model)
    model.eval()(X)  # any pass notices the move
    assert_trains(model.train(), sparsebp.optim.SGD(model, lr=0.05))


@moves
def test_an_optimizer_made_right_after_the_move_trains(move: Callable[[SparseModel], None]) -> None:
    model = converted()
    move(model)
    assert_trains(model, sparsebp.optim.SGD(model, lr=0.05))


def test_an_optimizer_over_parameters_that_were_assigned_trains() -> None:
    model = converted()
    assign(model)
    assert_trains(model, sparsebp.optim.SGD(model.parameters(), lr=0.05))


@moves
def test_a_move_between_forward_and_backward(move: Callable[[SparseModel], None]) -> None:
    model, twin = converted(), converted()
    for m in (model, twin):
        opt = sparsebp.optim.SGD(m, lr=0.05)
        loss = cross_entropy(m(X), Y)
        if m is model:
            move(m)
        loss.backward()
        opt.step()
    assert_same(everything(model), everything(twin))


@pytest.mark.parametrize("options", [{}, {"assign": True}], ids=["copied", "assigned"])
def test_a_checkpoint_of_the_original_loads_before_and_after_convert(options: dict[str, bool]) -> None:
    checkpoint = tiny_mobilenet(seed=1).state_dict()
    late = converted()
    late.load_state_dict({k: v.clone() for k, v in checkpoint.items()}, **options)
    original = tiny_mobilenet()
    original.load_state_dict(checkpoint)
    early = sparsebp.convert(original, BUDGET, input_size=SIZE).train()
    assert late.state_dict().keys() == checkpoint.keys()
    for model in (late, early):
        step(model, sparsebp.optim.SGD(model, lr=0.05))
    assert_same(everything(late), everything(early))


@pytest.mark.parametrize(
    ("change", "undo", "error", "words"),
    [
        (
            lambda m: m.double(),
            lambda m: m.float(),
            TypeError,
            "is torch.float64, the plan was made for torch.float32",
        ),
        (lambda m: m.half(), lambda m: m.float(), TypeError, "is torch.float16"),
        (
            lambda m: setattr(m.classifier[1], "weight", nn.Parameter(torch.zeros(10, 63))),
            lambda m: setattr(m.classifier[1], "weight", nn.Parameter(torch.ones(10, 64))),
            ValueError,
            r"classifier.1: its weight is \[10, 63\], expected \[10, 64\]",
        ),
        (
            lambda m: setattr(m.classifier[1], "weight", nn.Parameter(torch.zeros(64, 10))),
            lambda m: setattr(m.classifier[1], "weight", nn.Parameter(torch.ones(10, 64))),
            ValueError,
            r"classifier.1: its weight is \[64, 10\], expected \[10, 64\]",
        ),
        (
            lambda m: setattr(m.features[0][1], "running_var", torch.ones(16, device="meta")),
            lambda m: setattr(m.features[0][1], "running_var", torch.ones(16)),
            ValueError,
            "features.0.0: its norm running_var is on meta",
        ),
        (
            lambda m: setattr(m.features[0][1], "running_var", torch.ones(32)[::2]),
            lambda m: setattr(m.features[0][1], "running_var", torch.ones(16)),
            ValueError,
            "not contiguous",
        ),
    ],
    ids=["float64", "float16", "size", "transposed", "device", "strided"],
)
def test_weights_that_no_longer_fit_raise_until_they_do(
    change: Callable[[SparseModel], object],
    undo: Callable[[SparseModel], object],
    error: type[Exception],
    words: str,
) -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    change(model)
    held = {k: v for k, v in everything(model).items() if "meta" not in str(getattr(v, "device", ""))}
    for attempt in (
        lambda: model(X),
        lambda: model.eval()(X),
        lambda: sparsebp.fit_step(model.train(), opt, X, Y, cross_entropy),
    ):
        with pytest.raises(error, match=words):
            attempt()
    assert_same({k: v for k, v in everything(model).items() if k in held}, held)
    undo(model)
    assert_trains(model, opt)


def test_a_type_that_changes_between_forward_and_backward_raises() -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    loss = cross_entropy(model(X), Y)
    model.double()
    before = everything(model)
    with pytest.raises(TypeError, match="the plan was made for"):
        loss.backward()
    assert_same(everything(model), before)
    model.float()
    assert_trains(model, opt)


# -- gradient sums that wait for their step -------------------------------------------------------


def test_a_move_between_backward_and_step_trains_the_new_memory() -> None:
    models = [converted(LARGE) for _ in range(2)]
    for model, move in zip(models, (lambda m: None, assign), strict=True):
        assert model.plan.gradient_sums
        opt = sparsebp.optim.SGD(model, lr=0.05)
        cross_entropy(model(X), Y).backward()
        move(model)
        opt.step()
    assert_same(dict(models[1].state_dict()), dict(models[0].state_dict()))


def test_a_step_after_restore_changes_nothing() -> None:
    model = converted(LARGE)
    opt = sparsebp.optim.SGD(model, lr=0.05)
    cross_entropy(model(X), Y).backward()
    original = sparsebp.restore(model)
    before = everything(original)
    opt.step()
    opt.zero_grad()
    assert_same(everything(original), before)


def test_a_layer_replaced_after_convert_raises() -> None:
    model = converted()
    model.classifier[1] = nn.Linear(model.classifier[1].in_features, 3)
    with pytest.raises(RuntimeError, match=r"classifier\.1 was replaced"):
        model(X)
