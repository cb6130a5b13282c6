"""Malformed arguments of samplers, ``SparseConv2d`` and MobileNetV2: a typed error that names the argument."""

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
from training import (
    BUDGET,
    SIZE,
    assert_same,
    assert_trains,
    converted,
    everything,
    one_thread,  # noqa: F401
)

X, _ = batch(SIZE, 1)


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
