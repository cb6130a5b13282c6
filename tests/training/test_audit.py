"""``sparsebp.audit``: what a training step holds outside the arena, measured by PyTorch itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sparsebp
import torch
from networks import batch, residual_network, tiny_mobilenet
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
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

#: Ten logits, their gradient, the loss and what cross entropy saves: some hundred bytes an image.
SMALL = 4096


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Nothing that a user of the model can see differs afterwards."""
    before, generator = everything(model), torch.get_rng_state()
    yield
    assert_same(everything(model), before)
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("budget", [BUDGET, LARGE], ids=["in-place", "sums"])
@pytest.mark.parametrize("side", [16, 32, 64])
def test_a_converted_model_holds_next_to_nothing_outside_whatever_the_size(budget: int, side: int) -> None:
    size = (3, side, side)
    needed = sparsebp.min_budget(tiny_mobilenet(), input_size=size)
    model = converted(max(budget, needed), input_size=size)
    result = sparsebp.audit(model, *batch(size, 1))
    assert 0 < result.outside_bytes < SMALL
    assert result.outside_bytes == sparsebp.audit(converted(), X, Y).outside_bytes
    assert result.arena_peak == result.predicted_peak == model.plan.peak_bytes


@pytest.mark.parametrize("make", [tiny_mobilenet, residual_network])
def test_outside_grows_with_the_logits_of_a_batch_and_nothing_else(make: type) -> None:
    held = {}
    for images, side in ((1, 16), (4, 16), (4, 48)):
        size = (3, side, side)
        model = sparsebp.convert(make(), "1MB", input_size=size, batch_size=images)
        held[images, side] = sparsebp.audit(model, *batch(size, images)).outside_bytes
    assert held[1, 16] <= held[4, 16] <= 4 * held[1, 16]
    assert held[4, 48] == held[4, 16] < SMALL


def test_mobilenet_at_224_holds_less_than_a_thousandth_of_what_torch_does() -> None:
    net = sparsebp.models.mobilenet_v2(10)
    x, y = batch((3, 224, 224), 1)
    dense = sparsebp.audit(net, x, y).outside_bytes
    sparse = sparsebp.audit(sparsebp.convert(net), x, y)
    assert sparse.outside_bytes < SMALL
    assert sparse.predicted_peak <= 256 * 1024
    assert dense > 1000 * sparse.outside_bytes


def test_a_batch_in_micro_batches_holds_the_features_at_the_boundary() -> None:
    """``fit_step`` runs the frozen prefix on the whole batch first; that is what it holds outside."""
    model = converted(batch_size=2, budget="24KB")
    x, y = batch(SIZE, 7)
    (boundary,) = model._graph.crossing(model.plan.choice.begin)
    value = model._graph.values[boundary]
    features = 7 * value.height * value.width * value.channels * 4
    result = sparsebp.audit(model, x, y)
    assert features <= result.outside_bytes < features + SMALL
    assert result.arena_peak == result.predicted_peak


@pytest.mark.parametrize("budget", [BUDGET, LARGE], ids=["in-place", "sums"])
@pytest.mark.parametrize("sampler", ["random", "importance"])
def test_an_audit_leaves_a_converted_model_as_it_was(budget: int, sampler: str) -> None:
    settings = {"sampler": sampler, "momentum": True, "resample_every": 2}
    model, twin = converted(budget, **settings), converted(budget, **settings)
    opts = [sparsebp.optim.SGD(m, lr=0.05, momentum=0.9) for m in (model, twin)]
    for m, opt in zip((model, twin), opts, strict=True):
        step(m, opt)
    for mode in (True, False):
        model.train(mode)
        with unchanged(model):
            sparsebp.audit(model, X, Y)
            sparsebp.audit(model, *batch(SIZE, 3))
    model.train()
    assert model.engine.optimizer is opts[0]
    for m, opt in zip((model, twin), opts, strict=True):
        step(m, opt, seed=1)
        step(m, opt, seed=2)
    assert_same(everything(model), everything(twin))


def test_an_audit_attaches_no_optimizer() -> None:
    model = converted()
    sparsebp.audit(model, X, Y)
    assert model.engine.optimizer is None
    with pytest.raises(RuntimeError, match="no sparsebp optimizer"):
        cross_entropy(model(X), Y).backward()
    head = sparsebp.optim.SGD(model.classifier.parameters(), lr=0.05)
    before = model.state_dict()["features.6.0.weight"].clone()
    sparsebp.audit(model, X, Y)
    step(model, head)
    assert torch.equal(model.state_dict()["features.6.0.weight"], before)
    assert_trains(model, sparsebp.optim.SGD(model, lr=0.05))


@pytest.mark.parametrize("training", [True, False])
def test_an_audit_leaves_a_plain_module_as_it_was(training: bool) -> None:
    net = tiny_mobilenet(dropout=0.5).train(training)
    net.features[0].requires_grad_(False)
    cross_entropy(net(X), Y).backward()
    with unchanged(net):
        sparsebp.audit(net, *batch(SIZE, 4))


def test_a_plain_module_holds_what_autograd_saves_and_its_gradients() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Sigmoid(), nn.Conv2d(8, 4, 3, padding=1), nn.Sigmoid())
    x = torch.rand(2, 3, 10, 10)
    pixels = 2 * 10 * 10 * 4
    saved = (8 + 4) * pixels  # both outputs of a sigmoid; the first is the second convolution's input too
    parameters = sum(p.numel() for p in net.parameters()) * 4
    result = sparsebp.audit(net, x, torch.zeros(2, 4, 10, 10), mse_loss)
    gradients = 4 * 4 * pixels  # backward keeps a few tensors as large as an output at once
    assert saved + parameters <= result.outside_bytes <= saved + parameters + gradients + 8 * pixels
    assert (result.arena_peak, result.predicted_peak) == (0, 0)


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_kept_outside_on_purpose_is_found(count: int) -> None:
    model = converted()
    honest = sparsebp.audit(model, X, Y).outside_bytes
    kept: list[torch.Tensor] = []
    hook = model.register_forward_hook(lambda m, args, out: kept.extend(torch.zeros(5000) for _ in range(count)))
    assert sparsebp.audit(model, X, Y).outside_bytes == honest + count * 20_000
    kept.clear()
    hook.remove()
    assert sparsebp.audit(model, X, Y).outside_bytes == honest


def test_what_is_kept_on_the_context_of_a_function_is_found() -> None:
    """Where saved-tensor hooks do not look."""

    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
            ctx.kept = torch.ones(5000)
            return x.clone()

        @staticmethod
        def backward(ctx, dy: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return dy

    model = converted()
    honest = sparsebp.audit(model, X, Y).outside_bytes
    found = sparsebp.audit(model, X, Y, lambda out, y: cross_entropy(Keeps.apply(out), y)).outside_bytes
    assert honest + 20_000 <= found < honest + 20_000 + SMALL


def test_an_audit_that_fails_leaves_the_model_as_it_was() -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.05)

    def fails(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    caught = []  # the frames of these errors hold the output of the failed passes
    for images in (1, 3):
        with unchanged(model), pytest.raises(ZeroDivisionError) as error:
            sparsebp.audit(model, *batch(SIZE, images), fails)
        caught.append(error)
    with unchanged(model), pytest.raises(FloatingPointError):
        sparsebp.audit(model, X, Y, lambda out, y: cross_entropy(out, y) * float("nan"))
    assert_trains(model, opt)


def test_an_audit_while_a_pass_waits_for_its_backward_raises_and_does_not_disturb_it() -> None:
    model, twin = converted(), converted()
    for m in (model, twin):
        opt = sparsebp.optim.SGD(m, lr=0.05)
        loss = cross_entropy(m(X), Y)
        if m is model:
            with unchanged(m), pytest.raises(RuntimeError, match="still waits for its backward"):
                sparsebp.audit(m, X, Y)
        loss.backward()
        opt.step()
    assert_same(everything(model), everything(twin))
