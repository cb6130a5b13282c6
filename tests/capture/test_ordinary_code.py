"""Ordinary code is followed, and what cannot be followed is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sparsebp
import torch
from networks import batch
from odd_networks import Calls, classify, network, plan
from sparsebp import UnsupportedModel
from torch import nn
from torch.nn.functional import softsign
from training import SIZE, one_thread  # noqa: F401


class Silent(nn.Sequential):
    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


class Masked(Calls):
    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> object:
        return classify(self, self.conv(x if mask is None else x * mask))


def less_constants(m: Calls, x: torch.Tensor) -> torch.Tensor:
    return classify(m, m.conv(x - torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)))


ORDINARY: dict[str, Callable[[], nn.Module]] = {
    "constants": lambda: Calls(less_constants),
    "train returns nothing": lambda: Silent(*network().children()),
    "optional argument": lambda: Masked(lambda m, x: x),
    "input changed": lambda: Calls(lambda m, x: classify(m, m.conv(x.sub_(1)))),
}


@pytest.mark.parametrize("make", ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_code_is_followed(make: Callable[[], nn.Module]) -> None:
    net = make()
    net.eval()
    x, _ = batch(SIZE, 2)
    expected = net(x.clone()).detach()
    torch.testing.assert_close(sparsebp.convert(net, "64KB", input_size=SIZE).eval()(x.clone()), expected)


@pytest.mark.parametrize("stride", [2, (2,)])
def test_a_stride_may_be_set_as_torch_takes_it(stride: object) -> None:
    net = network()
    net.second[0].stride = stride
    net.eval()
    x, _ = batch(SIZE, 2)
    expected = net(x).detach()
    torch.testing.assert_close(sparsebp.convert(net, "64KB", input_size=SIZE).eval()(x), expected)


class LowRank(nn.Conv2d):
    """Computes its weight when it is asked for."""

    def __init__(self) -> None:
        super().__init__(8, 8, 1)
        del self.weight
        self.a, self.b = nn.Parameter(torch.randn(8, 2)), nn.Parameter(torch.randn(2, 8))

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        return (self.a @ self.b)[:, :, None, None]


def test_computed_weights_are_left_to_torch() -> None:
    assert plan(network(LowRank())) == ["second.0", "classifier"]


def test_a_value_that_is_read_twice_and_not_natively_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="more than one activation goes from"):
        plan(Calls(lambda m, x: classify(m, m.conv(softsign(x)) + softsign(2 * x))))


class AnyNumber(Calls):
    def forward(self, *xs: torch.Tensor) -> object:
        return classify(self, self.conv(xs[0]))


def test_a_network_of_any_number_of_inputs_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="any number of inputs"):
        plan(AnyNumber(lambda m, x: x))


def test_hooks_for_all_modules_and_on_gradients_are_refused() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *a: None)
    try:
        with pytest.raises(UnsupportedModel, match="hooks for all modules"):
            plan(network())
    finally:
        handle.remove()
    net = network()
    net.second[0].weight.register_hook(lambda grad: grad)
    with pytest.raises(UnsupportedModel, match=r"second\.0\.weight has a hook on its gradient"):
        plan(net)


def test_a_buffer_in_the_memory_of_a_weight_is_tied() -> None:
    net = network()
    net.second[0].register_buffer("copy", net.second[0].weight.data)
    with pytest.raises(UnsupportedModel, match="one memory"):
        plan(net)
