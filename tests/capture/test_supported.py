"""Which models ``convert`` takes, what it does with ops that have no native counterpart, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sparsebp
import torch
from networks import batch, conv_norm, tiny_mobilenet
from odd_networks import Branching, Calls, classify, network
from sparsebp import UnsupportedModel
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy
from training import (
    BUDGET,
    SIZE,
    assert_same,
    assert_trains,
    converted,
    everything,
    one_thread,  # noqa: F401
    step,
)

# -- what has no native counterpart ---------------------------------------------------------------

FOREIGN: dict[str, Callable[[], nn.Module]] = {
    "LPPool2d": lambda: nn.LPPool2d(2, 2),
    "Softsign": nn.Softsign,
    "Hardshrink": nn.Hardshrink,
    "LocalResponseNorm": lambda: nn.LocalResponseNorm(3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(8, 8, 3, groups=2),
    "Upsample": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
    "ReflectionPad2d": lambda: nn.ReflectionPad2d(1),
    "padding_mode": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)),
    "untraceable": lambda: Branching(nn.Conv2d(8, 8, 1)),
}
foreign = pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())


@foreign
def test_what_is_behind_a_foreign_op_trains_and_what_is_before_it_is_frozen(
    make: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    net = network(make()).eval()
    x, _ = batch(SIZE, 3)
    with torch.no_grad():
        expected = net(x)
    model = sparsebp.convert(net, "64KB", input_size=SIZE, batch_size=2)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    assert [layer.name for layer in model.plan] == ["second.0", "classifier"]
    assert not any(p.requires_grad for n, p in model.named_parameters() if n.startswith(("first", "middle")))
    assert_trains(model.train(), sparsebp.optim.SGD(model, lr=0.05))


def test_a_batch_larger_than_planned_goes_through_a_prefix_that_torch_runs() -> None:
    torch.manual_seed(0)
    net = network(Branching(nn.MaxPool2d(2)))
    model = sparsebp.convert(net, "64KB", input_size=SIZE, batch_size=2, gradients="sum").train()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    x, y = batch(SIZE, 5)
    assert model.plan.gradient_sums
    with torch.no_grad():
        expected = cross_entropy(model(x), y).item()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    assert sparsebp.fit_step(model, opt, x, y, cross_entropy) == pytest.approx(expected, rel=1e-5)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {"second.0.weight", "second.1.bias", "classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("name", [n for n in FOREIGN if n not in ("padding_mode", "parametrized", "untraceable")])
def test_a_layer_that_must_train_before_a_foreign_op_names_both(name: str) -> None:
    net = network(FOREIGN[name]())
    before = everything(net)
    with pytest.raises(UnsupportedModel, match=rf"first\.0 cannot train, .*{name} \(1, first: middle0"):
        sparsebp.convert(net, "64KB", input_size=SIZE, ratios={"first.0": 0.5})
    assert_same(everything(net), before)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: nn.Sequential(
                nn.Conv2d(3, 9, 3), nn.Softsign(), nn.LPPool2d(2, 2), nn.Flatten(), nn.Linear(441, 10)
            ),
            r"Softsign \(1, first: 1\), LPPool2d \(1, first: 2\)",
        ),
        (
            lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)),
            "no convolution to train",
        ),
        (lambda: Calls(lambda m, x: classify(m, functional.softsign(m.conv(x)))), "softsign"),
        (lambda: Calls(lambda m, x: m.conv(x) if x.sum() > 0 else x), "cannot be traced"),
        (lambda: nn.Identity(), "no parameters"),
        (lambda: nn.Bilinear(3, 3, 3), "does not accept an input"),
    ],
    ids=[
        "modules",
        "no convolution",
        "function",
        "branch",
        "empty",
        "arguments",
    ],
)
def test_models_that_cannot_train_natively_are_told_why(make: Callable[[], nn.Module], words: str) -> None:
    net = make()
    before = everything(net)
    for call in (sparsebp.convert, sparsebp.plan):
        with pytest.raises(UnsupportedModel, match=words):
            call(net, "1MB", input_size=SIZE)
    with pytest.raises(UnsupportedModel, match=words):
        sparsebp.min_budget(net, input_size=SIZE)
    assert_same(everything(net), before)


def test_a_refusal_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnsupportedModel, match="expected input"):
        sparsebp.plan(network(), "64KB", input_size=(4, 16, 16))
    assert capfd.readouterr() == ("", "")


# -- tied weights ---------------------------------------------------------------------------------


def tied_parameter() -> nn.Module:
    net = nn.Sequential(conv_norm(3, 3), conv_norm(3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    net[1][0].weight = net[0][0].weight
    return net


def tied_memory() -> nn.Module:
    net = tied_parameter()
    net[1][0].weight = nn.Parameter(net[0][0].weight.data)
    return net


def shared_module() -> nn.Module:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))


@pytest.mark.parametrize(
    "make",
    [
        tied_parameter,
        tied_memory,
        shared_module,
        lambda: Calls(lambda m, x: classify(m, m.conv(m.conv(x)))),
        lambda: Calls(lambda m, x: classify(m, m.norm(m.conv(m.norm(x))))),
        lambda: Calls(lambda m, x: classify(m, m.conv(functional.conv2d(x, m.conv.weight, padding=1)))),
    ],
    ids=["parameter", "memory", "module", "called twice", "norm called twice", "functional"],
)
def test_tied_weights_are_refused(make: Callable[[], nn.Module]) -> None:
    net = make()
    before = everything(net)
    with pytest.raises(ValueError, match="tied weights"):
        sparsebp.convert(net, "64KB", input_size=SIZE)
    assert_same(everything(net), before)


def test_what_comes_behind_tied_weights_trains() -> None:
    """A layer that is used twice runs in torch, frozen; where it is the last convolution there is nothing to train."""
    shared = conv_norm(3, 3)
    behind = nn.Sequential(conv_norm(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    model = sparsebp.convert(nn.Sequential(shared, shared, behind), "64KB", input_size=SIZE).train()
    assert [layer.name for layer in model.plan] == ["2.0.0", "2.3"]
    assert "a layer that is used more than once (2, first: 0.0)" in str(model.plan.reach)
    assert_trains(model, sparsebp.optim.SGD(model, lr=0.05))


def test_a_module_may_have_two_names() -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny_mobilenet()
            self.backbone = self.net.features

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

    model = sparsebp.convert(Detector(), BUDGET, input_size=SIZE).train()
    assert_trains(model, sparsebp.optim.SGD(model, lr=0.05))
    assert {n.split(".")[0] for n in model.state_dict()} == {"net", "backbone"}


def test_a_module_that_torch_runs_too_counts_as_tied() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(Branching(conv), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    with pytest.raises(UnsupportedModel, match="tied weights"):
        sparsebp.convert(net, "64KB", input_size=SIZE)


def test_activations_may_be_shared() -> None:
    act = nn.ReLU()
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        act,
        nn.Conv2d(8, 8, 3),
        act,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    model = sparsebp.convert(net, "1MB", input_size=SIZE).train()
    assert_trains(model, sparsebp.optim.SGD(model, lr=0.05))


# -- weights of the wrong kind --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda net: net.half(), TypeError, "first.0.weight is torch.float16; expected float32"),
        (lambda net: net.to(torch.bfloat16), TypeError, "bfloat16"),
        (lambda net: net.to("meta"), ValueError, "first.0.weight is on meta"),
        (lambda net: net.classifier.double(), TypeError, "mix torch.float(32|64) and torch.float(32|64)"),
    ],
    ids=["float16", "bfloat16", "device", "mixed"],
)
def test_weights_that_are_not_float_on_the_cpu(
    spoil: Callable[[nn.Module], object], error: type[Exception], words: str
) -> None:
    net = network()
    spoil(net)
    with pytest.raises(error, match=words):
        sparsebp.convert(net, "64KB", input_size=SIZE)


def test_a_converted_model_is_not_converted_again() -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    before = everything(model)
    for call in (sparsebp.convert, sparsebp.plan):
        with pytest.raises(TypeError, match=r"converted already; sparsebp\.restore"):
            call(model, BUDGET, input_size=SIZE)
    assert_same(everything(model), before)
    assert_trains(model, opt)


def test_a_restored_model_is_spent_and_its_original_can_be_converted_again() -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    step(model, opt)
    waiting = cross_entropy(model(batch(SIZE, 1)[0]), torch.tensor([1]))
    original = sparsebp.restore(model)
    before = everything(original)
    x, y = batch(SIZE, 1)
    for use in (
        lambda: model(x),
        lambda: model.arena,
        lambda: sparsebp.restore(model),
        lambda: sparsebp.optim.SGD(model, lr=0.1),
        lambda: sparsebp.audit(model, x, y),
        lambda: sparsebp.fit_step(model, opt, x, y, cross_entropy),
        waiting.backward,
    ):
        with pytest.raises(RuntimeError, match="was restored"):
            use()
    assert_same(everything(original), before)
    again = sparsebp.convert(original, BUDGET, input_size=SIZE).train()
    assert_trains(again, sparsebp.optim.SGD(again, lr=0.05))


def test_shapes_that_flatten_to_one_pixel_are_native() -> None:
    """Every way to write global pooling and a classifier."""
    endings: list[Callable[[Calls, torch.Tensor], torch.Tensor]] = [
        lambda m, x: m.classifier(x.mean((2, 3))),
        lambda m, x: m.classifier(x.mean([-1, -2])),
        lambda m, x: m.classifier(x.mean((2, 3), keepdim=True).flatten(1)),
        lambda m, x: m.classifier(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)),
        lambda m, x: m.classifier(functional.adaptive_avg_pool2d(x, (1, 1)).view(x.shape[0], -1)),
        lambda m, x: m.classifier(functional.avg_pool2d(x, 16).reshape(x.size(0), -1)),
    ]
    for end in endings:
        net = Calls(lambda m, x, end=end: end(m, functional.relu(m.conv(x)))).eval()
        x, _ = batch(SIZE, 2)
        expected = net(x)
        model = sparsebp.convert(net, "64KB", input_size=SIZE)
        assert [layer.name for layer in model.plan] == ["conv", "classifier"]
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_the_default_takes_a_fresh_network_of_the_package() -> None:
    assert sparsebp.plan(tiny_mobilenet(), input_size=SIZE).budget == 262_144
