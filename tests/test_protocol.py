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
    converted,
    everything,
    one_thread,  # noqa: F401
    persistent,
    step,
)

X, Y = batch(SIZE, 1)
budgets = pytest.mark.parametrize("budget", [BUDGET, LARGE], ids=["in-place", "sums"])


def sgd(model: sparsebp.SparseModel, lr: float = 0.05, **numbers: float) -> sparsebp.optim.SGD:
    return sparsebp.optim.SGD(model, lr=lr, **numbers)


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


# -- one forward pass in flight -------------------------------------------------------------------


def test_a_second_training_forward_raises_and_the_first_can_still_train() -> None:
    model, twin = converted(), converted()
    opts = [sgd(model), sgd(twin)]
    loss = cross_entropy(model(X), Y)
    before = everything(model)
    with pytest.raises(RuntimeError, match="still waits for its backward"):
        model(X)
    assert_same(everything(model), before)
    loss.backward()
    opts[0].step()
    step(twin, opts[1])
    assert_same(everything(model), everything(twin))


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


# -- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: X.numpy(), TypeError, "expected a tensor"),
        (lambda: None, TypeError, "expected a tensor"),
        (lambda: X[0], ValueError, r"got \[3, 16, 16\]"),
        (lambda: torch.zeros(1, 3, 32, 32), ValueError, "convert with input_size"),
        (lambda: torch.zeros(1, 1, 16, 16), ValueError, r"expected \[N, 3, 16, 16\]"),
        (lambda: X.double(), TypeError, "expected torch.float32, got torch.float64"),
        (lambda: X.half(), TypeError, "expected torch.float32"),
        (lambda: X.to(torch.uint8), TypeError, "expected torch.float32"),
        (lambda: X.to("meta"), ValueError, "one on meta"),
        (lambda: X.to_sparse(), TypeError, "dense"),
        (lambda: X.clone().requires_grad_(), ValueError, "no gradient of its input"),
    ],
    ids=[
        "array",
        "None",
        "no batch",
        "size",
        "channels",
        "float64",
        "float16",
        "uint8",
        "device",
        "sparse",
        "grad",
    ],
)
def test_wrong_images(make: Callable[[], torch.Tensor], error: type[Exception], words: str) -> None:
    model = converted()
    opt = sgd(model)
    before = everything(model)
    for call in (model, model.eval(), lambda x: sparsebp.fit_step(model.train(), opt, x, Y, cross_entropy)):
        with pytest.raises(error, match=words):
            call(make())
    assert_same(everything(model), before)
    assert_trains(model, opt)


def test_a_larger_batch_than_planned_names_the_ways_out() -> None:
    model = converted(batch_size=2)
    opt = sgd(model)
    before = everything(model)
    with pytest.raises(ValueError, match=r"batch_size=2 images, got 3; use sparsebp\.fit_step"):
        model(batch(SIZE, 3)[0])
    assert_same(everything(model), before)
    assert_trains(model, opt)


def test_a_smaller_last_batch_trains_as_a_plan_of_its_size_would() -> None:
    ratios = {"*": 1.0}
    models = [converted(LARGE, batch_size=b, ratios=ratios) for b in (4, 3)]
    before = {name: value.clone() for name, value in models[0].state_dict().items()}
    losses = [step(m, sgd(m), images=3) for m in models]
    assert losses[0] == losses[1]
    assert models[0].arena.peak <= models[0].plan.peak_bytes
    # Another plan may round otherwise: where the pixels are few it scales gradients, elsewhere weights.
    values = [m.state_dict() for m in models]
    for name, value in before.items():
        change, wanted = (v[name].double() - value.double() for v in values)
        assert (change - wanted).norm() <= 1e-5 * wanted.norm(), name


@budgets
def test_an_empty_batch_trains_nothing(budget: int) -> None:
    model = converted(budget)
    opt = sgd(model)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    output = model(X[:0])
    assert output.shape == (0, 10)
    output.sum().backward()
    opt.step()
    assert_same(model.state_dict(), weights)
    assert_trains(model, opt)


FORMATS = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, ::2, ::2],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "offset": lambda x: torch.cat([x, x])[x.shape[0] :],
}


@pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS.keys())
def test_any_memory_format_trains_alike(layout: Callable[[torch.Tensor], torch.Tensor]) -> None:
    models = [converted(batch_size=2), converted(batch_size=2)]
    x, y = batch(SIZE, 2)
    for model, images in zip(models, (x, layout(x)), strict=True):
        opt = sgd(model)
        cross_entropy(model(images), y).backward()
        opt.step()
    assert_same(everything(models[0]), everything(models[1]))


@pytest.mark.parametrize("images", [0, 1, 2, 5])
def test_evaluation_takes_any_batch_in_any_memory_format(images: int) -> None:
    original = tiny_mobilenet().eval()
    x = batch(SIZE, images)[0]
    with torch.no_grad():
        expected = original(x)
    model = sparsebp.convert(original, BUDGET, input_size=SIZE, batch_size=2).eval()
    for layout in FORMATS.values():
        torch.testing.assert_close(model(layout(x)), expected, rtol=1e-4, atol=1e-4)
    one = batch(SIZE, 1)[0]
    torch.testing.assert_close(model(one.expand(3, -1, -1, -1)), model(one).expand(3, -1))


def test_a_gradient_in_any_memory_format_trains_alike() -> None:
    """An image-shaped output whose gradient arrives as NCHW, NHWC or expanded."""
    weights = []
    for layout in (torch.contiguous_format, torch.channels_last, None):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 6, 3))
        model = sparsebp.convert(net, LARGE, input_size=SIZE).train()
        opt = sgd(model)
        y = model(X)
        dy = torch.full_like(y, 0.5, memory_format=layout or torch.contiguous_format)
        y.backward(dy if layout is not None else torch.tensor(0.5).expand(y.shape))
        opt.step()
        weights.append(model.state_dict())
    assert_same(weights[1], weights[0])
    assert_same(weights[2], weights[0])


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
