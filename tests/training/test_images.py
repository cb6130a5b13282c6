"""What a converted model takes as an image, and what it says of everything else."""

from __future__ import annotations

from collections.abc import Callable

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
    sgd,
    step,
)

X, Y = batch(SIZE, 1)


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
