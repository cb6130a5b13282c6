"""Malformed arguments of every public function: a typed error that names the argument, and nothing half-changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from sparsebp import samplers
from sparsebp.nn import SparseConv2d
from torch import nn
from torch.nn.functional import cross_entropy
from training import (
    BUDGET,
    SIZE,
    assert_same,
    assert_trains,
    converted,
    everything,
    one_thread,  # noqa: F401
)

X, Y = batch(SIZE, 1)


def label(value: object) -> str:
    return repr(value)[:30] if not callable(value) else ""


# -- convert, plan, min_budget --------------------------------------------------------------------

SETTINGS: dict[str, list[tuple[Any, type[Exception]]]] = {
    "input_size": [
        (None, ValueError),
        (3, ValueError),
        ((3, 16), ValueError),
        ((1, 3, 16, 16), ValueError),
        ("abc", ValueError),
        ((3, 16, 0), ValueError),
        ((3, -1, 16), ValueError),
        ((3, 16.0, 16), TypeError),
        ((True, 16, 16), TypeError),
        ((4, 16, 16), sparsebp.UnsupportedModel),
        ((3, 10**9, 10**9), sparsebp.UnsupportedModel),
        ((3, 2**70, 16), ValueError),
    ],
    "batch_size": [
        (0, ValueError),
        (2**62, ValueError),
        (2**70, ValueError),
        (-1, ValueError),
        (True, TypeError),
        (1.0, TypeError),
        ("1", TypeError),
        (None, TypeError),
    ],
    "max_update_ratio": [
        (0, ValueError),
        (-0.1, ValueError),
        (1.1, ValueError),
        (math.nan, ValueError),
        (1e-9, ValueError),
        (True, TypeError),
        ("2%", TypeError),
    ],
    "ratios": [
        ([], TypeError),
        ("features*", TypeError),
        ({3: 0.1}, TypeError),
        ({"features.99.conv": 0.1}, ValueError),
        ({"features*": math.nan}, ValueError),
        ({"features*": 1.5}, ValueError),
        ({"features*": -0.1}, ValueError),
        ({"features*": True}, TypeError),
        ({"features*": None}, TypeError),
        ({"features*": 0}, ValueError),
    ],
    "sampler": [("uniform", ValueError), (None, TypeError), (3, TypeError), (samplers.Random, TypeError)],
    "resample_every": [
        (2**70, ValueError),
        (0, ValueError),
        (-1, ValueError),
        (True, TypeError),
        (1.5, TypeError),
        (None, TypeError),
    ],
    "momentum": [(0.9, TypeError), (1, TypeError), (None, TypeError)],
    "train_bias": [(1, TypeError), ("yes", TypeError), (None, TypeError)],
    "seed": [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), (True, TypeError), (None, TypeError)],
}
CASES = [(key, value, error) for key, cases in SETTINGS.items() for value, error in cases]


@pytest.mark.parametrize(("key", "value", "error"), CASES, ids=label)
def test_malformed_settings(key: str, value: Any, error: type[Exception]) -> None:
    net = tiny_mobilenet()
    before = everything(net)
    settings = {"input_size": SIZE, key: value}
    words = {"input_size": "size", "ratios": "ratios"}.get(key, key)
    for call in (
        lambda: sparsebp.convert(net, "64KB", **settings),
        lambda: sparsebp.plan(net, "64KB", **settings),
        lambda: sparsebp.min_budget(net, **settings),
    ):
        with pytest.raises(error, match=words):
            call()
    assert_same(everything(net), before)
    assert_trains(model := sparsebp.convert(net, BUDGET, input_size=SIZE).train(), sparsebp.optim.SGD(model, lr=0.05))


def test_unknown_keywords_are_named() -> None:
    net = tiny_mobilenet()
    with pytest.raises(TypeError, match="'bugdet'"):
        sparsebp.plan(net, "64KB", bugdet=1)
    with pytest.raises(TypeError, match="'sizes'"):
        sparsebp.min_budget(net, sizes=1)
    with pytest.raises(TypeError, match="takes no budget"):
        sparsebp.min_budget(net, budget="64KB")
    with pytest.raises(TypeError, match="bugdet"):
        sparsebp.convert(net, bugdet=1)


@pytest.mark.parametrize("model", [None, 3, "model", nn.Module, X], ids=["None", "int", "str", "class", "tensor"])
def test_what_is_no_module(model: Any) -> None:
    for call in (sparsebp.convert, sparsebp.plan, sparsebp.min_budget, sparsebp.restore):
        with pytest.raises(TypeError, match="model: expected"):
            call(model)
    with pytest.raises(TypeError, match="model: expected"):
        sparsebp.audit(model, X, Y)
    with pytest.raises(TypeError, match="model: expected"):
        sparsebp.fit_step(model, None, X, Y, cross_entropy)


def test_restore_and_fit_step_want_a_converted_model() -> None:
    net = tiny_mobilenet()
    with pytest.raises(TypeError, match=r"what sparsebp\.convert returned, got MobileNetV2"):
        sparsebp.restore(net)
    with pytest.raises(TypeError, match=r"what sparsebp\.convert returned, got MobileNetV2"):
        sparsebp.fit_step(net, sparsebp.optim.SGD(net, lr=0.1), X, Y, cross_entropy)


# -- fit_step, audit, questions to a model --------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"x": X[:0], "y": Y[:0]}, ValueError, "at least one image"),
        ({"y": Y.repeat(2)}, ValueError, "one target per image, 1, got 2"),
        ({"y": None}, TypeError, "y: expected targets"),
        ({"y": 3}, TypeError, "y: expected targets"),
        ({"loss_fn": None}, TypeError, "loss_fn: expected a function"),
        (
            {"loss_fn": lambda out, y: 1.0},
            TypeError,
            "loss_fn: expected it to return a tensor of one element, got float",
        ),
        ({"loss_fn": lambda out, y: out}, TypeError, r"one element, got shape \[1, 10\]"),
        ({"loss_fn": lambda out, y: out.detach().sum()}, RuntimeError, "does not require grad"),
        ({"loss_fn": lambda out, y: out.sum() * math.nan}, FloatingPointError, "nothing was updated"),
        ({"opt": None}, ValueError, "opt: expected the sparsebp.optim.SGD"),
        ({"opt": torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)}, ValueError, "opt: expected"),
        ({"x": X.numpy()}, TypeError, "x: expected a tensor"),
        ({"x": X.double()}, TypeError, "expected torch.float32"),
        ({"x": X[0]}, ValueError, r"got \[3, 16, 16\]"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_malformed_arguments_of_fit_step(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    given = {"opt": opt, "x": X, "y": Y, "loss_fn": cross_entropy, **arguments}
    held = {k: v for k, v in everything(model).items() if k != "state: forwards"}
    with pytest.raises(error, match=words) as caught:
        sparsebp.fit_step(model, **given)
    assert_same({k: v for k, v in everything(model).items() if k in held}, held)
    assert_trains(model, opt)
    assert caught.tb is not None  # its frames held the output of the failed pass all the while


def test_fit_step_wants_the_optimizer_that_is_attached_and_training_mode() -> None:
    model = converted()
    stale, opt = sparsebp.optim.SGD(model, lr=0.05), sparsebp.optim.SGD(model, lr=0.05)
    with pytest.raises(ValueError, match="made for this model last"):
        sparsebp.fit_step(model, stale, X, Y, cross_entropy)
    with pytest.raises(RuntimeError, match=r"call model\.train\(\)"):
        sparsebp.fit_step(model.eval(), opt, X, Y, cross_entropy)
    assert_trains(model.train(), opt)


def test_fit_step_takes_the_place_of_a_pass_that_waits() -> None:
    model, twin = converted(), converted()
    loss = cross_entropy(model(X), Y)
    for m in (model, twin):
        sparsebp.fit_step(m, sparsebp.optim.SGD(m, lr=0.05), X, Y, cross_entropy)
    model.engine.forwards -= 1  # each pass has a dropout of its own
    assert_same(everything(model), everything(twin))
    with pytest.raises(RuntimeError, match="took this one's place"):
        loss.backward()
    assert_same(everything(model), everything(twin))


@pytest.mark.parametrize("x", [None, np.zeros((1, 3, 16, 16), np.float32)], ids=["None", "array"])
def test_audit_wants_a_tensor(x: Any) -> None:
    for model in (converted(), tiny_mobilenet()):
        with pytest.raises(TypeError, match="x: expected a tensor"):
            sparsebp.audit(model, x, Y)


@pytest.mark.parametrize("name", ["features.0.0", "features", "", None])
def test_a_layer_that_does_not_train_has_no_update_set(name: Any) -> None:
    model = converted(ratios={"features.0.*": 0})
    with pytest.raises(ValueError, match="is not trained by this plan; it trains features"):
        model.update_set(name)
    with pytest.raises(KeyError, match="is not in the plan; it has features"):
        model.plan[name]


# -- samplers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", samplers.NAMES.values(), ids=samplers.NAMES.keys())
@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), (True, TypeError), ("0", TypeError)]
)
def test_malformed_seeds(kind: Callable[..., samplers.Sampler], seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="seed: expected"):
        kind(seed)


def test_a_sampler_without_a_seed_takes_that_of_each_use_and_stays_as_it_was() -> None:
    sampler, net = samplers.Random(), tiny_mobilenet()
    sparsebp.plan(net, BUDGET, input_size=SIZE, sampler=sampler, seed=5)
    sets = []
    for seed in (6, 7, 6):
        model = converted(sampler=sampler, seed=seed)
        sets.append([model.update_set(layer.name).tolist() for layer in model.plan])
        assert (sampler.seed, model.engine.sampler.seed) == (None, seed)
    assert sets[0] == sets[2] != sets[1]


@pytest.mark.parametrize("channels", [[0, 0, 1], [0, 1, 7], [-1, 0, 1], [2, 2]])
def test_channels_of_one_convolution_must_be_different_ones_of_its_input(channels: list[int]) -> None:
    x, weight = torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 1, 1)
    with pytest.raises(ValueError, match="channels: expected different numbers from 0 to 2"):
        sparsebp.functional.sparse_conv2d(x, weight, channels=channels)


class Chooses(samplers.Sampler):
    def __init__(self, channels: Any) -> None:
        super().__init__()
        self.channels = channels

    def select(self, name: str, channels: int, count: int, turn: int) -> Any:
        return self.channels(channels, count) if turn == 1 else range(count)


@pytest.mark.parametrize(
    ("choose", "error", "words"),
    [
        (lambda channels, count: range(count + 1), ValueError, "expected [0-9]+ channels, got"),
        (lambda channels, count: [0] * count, ValueError, r"appears twice|expected"),
        (lambda channels, count: range(channels - count + 1, channels + 1), ValueError, "out of range"),
        (lambda channels, count: range(-1, count - 1), ValueError, "out of range"),
        (lambda channels, count: ["a"] * count, ValueError, "invalid literal"),
        (lambda channels, count: None, TypeError, "iterable"),
    ],
    ids=["too many", "twice", "too large", "negative", "words", "None"],
)
def test_a_sampler_of_ones_own_that_draws_nonsense(
    choose: Callable[[int, int], Any], error: type[Exception], words: str
) -> None:
    model = converted("64KB", sampler=Chooses(choose), ratios={"*": 0.3})
    opt = sparsebp.optim.SGD(model, lr=0.05)
    assert_trains(model, opt)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(error, match=words):
        model(X)
    assert_same(model.state_dict(), weights)
    assert (model.engine.turn, model.engine.forwards) == (0, 1)
    model.engine.sampler.channels = lambda channels, count: range(channels - count, channels)
    assert_trains(model, opt)
    for layer in model.plan:
        first = layer.channels - layer.selected
        assert model.update_set(layer.name).tolist() == list(range(first, layer.channels))


def test_a_sampler_that_fails_in_convert_leaves_the_model_alone() -> None:
    original = tiny_mobilenet()
    before = {n: (p.stride(), p.requires_grad) for n, p in original.named_parameters()}
    with pytest.raises(TypeError, match="must define select"):
        sparsebp.convert(original, "64KB", input_size=SIZE, sampler=samplers.Sampler(), ratios={"*": 0.3})
    assert {n: (p.stride(), p.requires_grad) for n, p in original.named_parameters()} == before


def test_a_sampler_that_selects_nothing_says_what_to_define() -> None:
    with pytest.raises(TypeError, match="Sampler must define select"):
        converted(sampler=samplers.Sampler())


@pytest.mark.parametrize("channels", [[0, 0], [0], [0, 999], [-1, 0]], ids=str)
def test_a_static_set_must_fit_its_layer(channels: list[int]) -> None:
    net = tiny_mobilenet()
    before = everything(net)
    settings = {"input_size": SIZE, "ratios": {"features.4.conv.0.0": 2 / 16}}
    with pytest.raises(ValueError, match=r"features\.4\.conv\.0\.0: "):
        sparsebp.convert(net, BUDGET, sampler=samplers.Static(channels={"features.4.conv.0.0": channels}), **settings)
    assert_same(everything(net), before)


# -- modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"conv": None}, TypeError, "conv: expected a torch.nn.Conv2d"),
        ({"conv": nn.Linear(3, 3)}, TypeError, "got Linear"),
        ({"conv": nn.ConvTranspose2d(3, 3, 3)}, TypeError, "got ConvTranspose2d"),
        ({"conv": nn.Conv2d(3, 3, 3, padding_mode="reflect")}, ValueError, "padding_mode"),
        ({"conv": nn.Conv2d(3, 3, 3).half()}, TypeError, "float16"),
        ({"conv": nn.Conv2d(3, 3, 3, device="meta")}, ValueError, "on meta"),
        ({"ratio": 0}, ValueError, "ratio: "),
        ({"ratio": 1.5}, ValueError, "ratio: "),
        ({"ratio": math.nan}, ValueError, "ratio: "),
        ({"ratio": True}, TypeError, "ratio: "),
        ({"ratio": "half"}, TypeError, "ratio: "),
        ({"sampler": "uniform"}, ValueError, "sampler: "),
        ({"sampler": None}, TypeError, "sampler: "),
        ({"seed": -1}, ValueError, "seed: "),
        ({"seed": None}, TypeError, "seed: "),
    ],
    ids=lambda v: repr(v)[:40] if isinstance(v, dict) else "",
)
def test_malformed_arguments_of_a_sparse_convolution(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        SparseConv2d(**{"conv": nn.Conv2d(3, 3, 3), **arguments})


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (None, TypeError, "x: expected a dense tensor"),
        (np.zeros((1, 3, 8, 8), np.float32), TypeError, "ndarray"),
        (torch.zeros(1, 3, 8, 8).to_sparse(), TypeError, "sparse"),
        (torch.zeros(3, 8, 8), ValueError, r"expected \[N, 3, H, W\]"),
        (torch.zeros(1, 4, 8, 8), ValueError, r"expected \[N, 3, H, W\]"),
        (torch.zeros(1, 3, 8, 8).double(), TypeError, "expected torch.float32"),
        (torch.zeros(1, 3, 8, 8, device="meta"), ValueError, "on meta"),
        (torch.zeros(1, 3, 2, 2), RuntimeError, "greater than actual input size"),
    ],
    ids=["None", "array", "sparse", "3-D", "channels", "float64", "device", "too small"],
)
def test_malformed_images_for_a_sparse_convolution(x: Any, error: type[Exception], words: str) -> None:
    layer = SparseConv2d(nn.Conv2d(3, 4, 3), 0.5)
    for mode in (True, False):
        with pytest.raises(error, match=words):
            layer.train(mode)(x)
    layer.train()(torch.ones(1, 3, 8, 8)).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_classes": 0}, ValueError),
        ({"num_classes": 1.5}, TypeError),
        ({"width_mult": 0}, ValueError),
        ({"width_mult": math.nan}, ValueError),
        ({"width_mult": "wide"}, TypeError),
        ({"dropout": 2}, ValueError),
        ({"dropout": "half"}, TypeError),
        ({"last_channel": 0}, ValueError),
        ({"inverted_residual_setting": []}, ValueError),
        ({"inverted_residual_setting": 3}, TypeError),
        ({"inverted_residual_setting": [(1, 16)]}, ValueError),
        ({"inverted_residual_setting": [(1, 16, 1, 3)]}, ValueError),
        ({"inverted_residual_setting": [(0, 16, 1, 1)]}, ValueError),
        ({"inverted_residual_setting": [(1.5, 16, 1, 1)]}, TypeError),
    ],
    ids=str,
)
def test_malformed_arguments_of_mobilenet_v2(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        sparsebp.models.mobilenet_v2(**arguments)
