"""Malformed arguments of what plans, converts and trains: a typed error that names them, and nothing half-changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from sparsebp import samplers
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
