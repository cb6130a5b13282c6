"""A single convolution has a program for each input shape; training goes on from one to the next."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import sparsebp
import torch
from sparsebp.nn import SparseConv2d
from torch import nn

SHAPE, OTHER = (2, 16, 6, 6), (1, 16, 9, 4)
samplers = pytest.mark.parametrize("sampler", ["random", "cyclic", "importance", "top-k", "static"])
optimizers = pytest.mark.parametrize("make", [sparsebp.optim.SGD, torch.optim.SGD], ids=["ours", "torch's"])


def layer_of(sampler: str = "random") -> SparseConv2d:
    torch.manual_seed(0)
    return SparseConv2d(nn.Conv2d(16, 12, 3, padding=1), 0.25, sampler=sampler, seed=4)


def images(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def train(layer: SparseConv2d, opt: Any, shape: tuple[int, ...], seed: int) -> list[int]:
    """One step; the channels that it trained."""
    layer(images(shape, seed)).square().mean().backward()
    opt.step()
    opt.zero_grad()
    return layer.channels.tolist()


@samplers
@optimizers
def test_draws_go_on_from_shape_to_shape(make: Any, sampler: str) -> None:
    """Also those by gradient norms: after the same training, an input of any shape draws the same channels next."""
    layer = layer_of(sampler)
    opt = make(layer.parameters(), lr=0.01)
    for i in range(8):
        train(layer, opt, SHAPE, i)
        same, changed = copy.deepcopy(layer), copy.deepcopy(layer)
        same(images(SHAPE, 50))
        changed(images(SHAPE, 50))
        changed(images(OTHER, 50))
        layer(images(OTHER, 50))
        assert layer.channels.tolist() == changed.channels.tolist() == same.channels.tolist()


@samplers
def test_an_update_set_stays_until_its_update_is_done_whatever_the_shapes(sampler: str) -> None:
    layer = layer_of(sampler)
    opt = sparsebp.optim.SGD(layer.parameters(), lr=0.01)
    train(layer, opt, SHAPE, 0)
    drawn = []
    for shape in (SHAPE, OTHER, SHAPE, OTHER):
        layer(images(shape))
        drawn.append(layer.channels.tolist())
    assert drawn == drawn[:1] * 4
    layer(images(SHAPE)).sum().backward()
    layer(images(OTHER)).sum().backward()
    assert layer.channels.tolist() == drawn[0], "a step has not been taken yet"
    opt.step()
    layer(images(SHAPE))
    assert sampler == "static" or layer.channels.tolist() != drawn[0]


@samplers
@optimizers
def test_a_copy_goes_on_with_another_shape(make: Any, sampler: str) -> None:
    layer = layer_of(sampler)
    opt = make(layer.parameters(), lr=0.01)
    for i in range(5):
        train(layer, opt, (SHAPE, OTHER)[i % 2], i)
    twin = copy.deepcopy(layer)
    other = make(twin.parameters(), lr=0.01)
    for i in range(5, 12):
        shape = (OTHER, OTHER, SHAPE)[i % 3]
        assert train(twin, other, shape, i) == train(layer, opt, shape, i)
    assert torch.equal(twin.weight, layer.weight)


def test_a_pass_that_goes_back_after_one_of_another_shape_makes_the_next_draw_due() -> None:
    """Under torch's optimizers both may wait."""
    layer = layer_of()
    first, second = layer(images(SHAPE)), layer(images(OTHER))
    drawn = layer.channels.tolist()
    first.sum().backward()
    layer(images(OTHER))
    assert layer.channels.tolist() != drawn
    layer.runner().load_state_dict(layer.runner().state_dict())
    with pytest.raises(RuntimeError):
        second.sum().backward()


def test_states_of_earlier_versions_are_read() -> None:
    """They counted beside the program, whose own counters may be behind."""
    layer = layer_of("importance")
    opt = sparsebp.optim.SGD(layer.parameters(), lr=0.01)
    for i in range(3):
        train(layer, opt, SHAPE, i)
    state = layer.runner().state_dict()
    program = {**state["program"], "due": False, "pending": True}
    beside = {"turn": 2, "due": True, "pending": False, "use": {"images": 2}}
    earlier = {"plan": state["plan"], **beside, "program": program}
    twin = layer_of("importance")
    other = sparsebp.optim.SGD(twin.parameters(), lr=0.01)
    twin.load_state_dict(layer.state_dict())
    twin.runner().load_state_dict(earlier)
    for i in range(3, 6):
        assert train(twin, other, SHAPE, i) == train(layer, opt, SHAPE, i)


@pytest.mark.parametrize("wrong", [{"program": 3}, {"program": {"turn": -1}}, {"turn": "1"}, {"plan": {}}], ids=str)
def test_a_state_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    layer = layer_of()
    layer(images(SHAPE)).sum().backward()
    state, drawn = layer.runner().state_dict(), layer.channels.tolist()
    with pytest.raises(ValueError, match="state: "):
        layer.runner().load_state_dict({**state, **wrong})
    missing = {"plan": state["plan"]}
    with pytest.raises(ValueError, match="state: program: expected what was saved"):
        layer.runner().load_state_dict(missing)
    assert layer.channels.tolist() == drawn
