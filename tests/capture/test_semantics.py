"""The graph that ``convert`` makes computes what the model computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sparsebp
import torch
from networks import batch
from odd_networks import Calls, network
from sparsebp import UnsupportedModel
from torch import nn
from torch.nn import functional
from training import (
    SIZE,
    converted,
    one_thread,  # noqa: F401
)


def _shortcut_behind_an_in_place_relu(m: Calls, x: torch.Tensor) -> torch.Tensor:
    x = m.norm(x)
    return x + m.conv(functional.relu(x, inplace=True))


def _dropped_result(m: Calls, x: torch.Tensor) -> torch.Tensor:
    x = m.norm(x)
    functional.relu(x, True)
    return m.conv(x)


def _dropped_method(m: Calls, x: torch.Tensor) -> torch.Tensor:
    x = m.norm(x)
    x.add_(functional.relu(x))
    return m.conv(x)


def _alias_of_what_changes(m: Calls, x: torch.Tensor) -> torch.Tensor:
    x = m.norm(x)
    other = m.same(x)
    functional.relu_(x)
    return m.conv(other)


def _functional_dropout_in_the_prefix(m: Calls, x: torch.Tensor) -> torch.Tensor:
    x = functional.dropout(m.norm(x), 0.5, m.training)
    return m.conv(functional.max_pool2d(x, 2))


@pytest.mark.parametrize(
    "run",
    [
        _shortcut_behind_an_in_place_relu,
        _dropped_result,
        _dropped_method,
        _alias_of_what_changes,
        _functional_dropout_in_the_prefix,
    ],
)
def test_in_place_ops_and_modes_mean_what_they_mean_in_torch(run: Callable[..., torch.Tensor]) -> None:
    original = Calls(lambda m, x: m.classifier(m.pool(run(m, x)).flatten(1)))
    original.pool, original.same = nn.AdaptiveAvgPool2d(1), nn.Identity()
    x, _ = batch(SIZE, 2)
    with torch.no_grad():
        expected = original.eval()(x)
        model = sparsebp.convert(original, "64KB", input_size=SIZE).eval()
        torch.testing.assert_close(model(x), expected)


def test_a_model_of_two_modes_is_refused() -> None:
    def run(m: Calls, x: torch.Tensor) -> torch.Tensor:
        x = m.conv(x)
        return m.classifier((x * 2 if m.training else x).mean((2, 3)))

    with pytest.raises(UnsupportedModel, match="training mode and in evaluation mode"):
        sparsebp.convert(Calls(run), "64KB", input_size=SIZE)


def test_dropout_that_is_off_in_training_is_off() -> None:
    original = Calls(lambda m, x: m.classifier(torch.dropout(m.conv(x).mean((2, 3)), p=0.5, train=False)))
    x, _ = batch(SIZE, 1)
    with torch.no_grad():
        expected = original(x)
        torch.testing.assert_close(sparsebp.convert(original, "64KB", input_size=SIZE).train()(x), expected)


def test_a_dropout_that_evaluation_mode_does_not_end_is_refused_where_layers_train() -> None:
    def run(m: Calls, x: torch.Tensor) -> torch.Tensor:
        return m.classifier(functional.dropout(m.conv(x).mean((2, 3)), 0.5))

    with pytest.raises(UnsupportedModel, match="dropout that evaluation mode does not end"):
        sparsebp.convert(Calls(run), "64KB", input_size=SIZE)


@pytest.mark.parametrize("where", ["", "classifier"])
@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_a_hook_is_never_skipped(where: str, register: str) -> None:
    original = network()
    getattr(original.get_submodule(where), register)(lambda *arguments: None)
    with pytest.raises(UnsupportedModel, match="with hooks"):
        sparsebp.convert(original, "64KB", input_size=SIZE)


def test_a_hook_of_a_container_in_the_prefix_runs_at_every_call() -> None:
    seen = []
    original = network(nn.Sequential(nn.LPPool2d(2, 2)))
    original.middle0.register_forward_hook(lambda module, inputs, output: seen.append(1))
    model = sparsebp.convert(original, "64KB", input_size=SIZE)
    seen.clear()
    model(batch(SIZE, 1)[0])
    model(batch(SIZE, 1)[0])
    assert len(seen) == 2


def test_autocast_and_a_default_device_do_not_reach_the_program() -> None:
    model = sparsebp.convert(network(nn.LPPool2d(2, 2)), "64KB", input_size=SIZE).eval()
    x, _ = batch(SIZE, 3)
    expected = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(x), expected)
    with torch.device("meta"):
        assert torch.equal(model(x), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_converted_model_is_not_traced_into_a_graph_without_it() -> None:
    with pytest.raises(RuntimeError, match="restore"):
        torch.jit.trace(converted().eval(), batch(SIZE, 1)[0])
