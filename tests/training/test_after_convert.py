"""What is done to the modules of a converted network: native code would not see it, so it is refused by name."""

from __future__ import annotations

import types
from collections.abc import Callable

import pytest
import sparsebp
import torch
from networks import batch
from odd_networks import network
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from training import SIZE, assert_trains, converted, one_thread  # noqa: F401

BLOCK, CONV, ACTIVATION = "features.2", "features.2.conv.0.0", "features.2.conv.0.2"


def hook(m: nn.Module) -> None:
    m.register_forward_hook(lambda *a: None)


def hook_before(m: nn.Module) -> None:
    m.register_forward_pre_hook(lambda *a: None)


def hook_backward(m: nn.Module) -> None:
    m.register_full_backward_hook(lambda *a: None)


def patch(m: nn.Module) -> None:
    m.forward = types.MethodType(lambda self, x: x, m)


@pytest.mark.parametrize("name", [BLOCK, CONV, ACTIVATION])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (hook, "got a hook"),
        (hook_before, "got a hook"),
        (hook_backward, "got a hook"),
        (patch, "got another forward"),
    ],
)
def test_hooks_and_patches_on_native_modules_are_refused_by_name(
    name: str, change: Callable[[nn.Module], None], words: str
) -> None:
    model = converted()
    change(model.get_submodule(name))
    x, _ = batch(SIZE, 1)
    for training in (True, False):
        with pytest.raises(RuntimeError, match=rf"^{name} {words}.*restore"):
            model.train(training)(x)


def test_a_hook_that_was_removed_does_not_matter_nor_does_an_attribute() -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    model.get_submodule(CONV).register_forward_hook(lambda *a: None).remove()
    model.get_submodule(CONV).note = "seen"
    assert_trains(model, opt)


def test_what_torch_runs_may_be_hooked_later() -> None:
    model = sparsebp.convert(network(nn.LPPool2d(2, 2)), "64KB", input_size=SIZE)
    seen = []
    model.middle0.register_forward_hook(lambda *a: seen.append(1))
    model(batch(SIZE, 1)[0])
    assert seen == [1]


@pytest.mark.parametrize("layer", ["native", "torch"])
def test_a_module_replaced_after_convert_is_refused(layer: str) -> None:
    model = sparsebp.convert(network(nn.LPPool2d(2, 2)), "64KB", input_size=SIZE)
    name = {"native": "pool", "torch": "middle0"}[layer]
    setattr(model, name, nn.Identity())
    with pytest.raises(RuntimeError, match=f"{name} was replaced after convert"):
        model(batch(SIZE, 1)[0])


def test_a_parametrisation_after_convert_is_refused_and_can_be_undone() -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    x, _ = batch(SIZE, 1)
    loss = model(x).sum()
    parametrizations.weight_norm(model.get_submodule(CONV))
    for call in (loss.backward, lambda: list(model.trained_parameters()), lambda: sparsebp.optim.SGD(model, lr=0.1)):
        with pytest.raises(RuntimeError, match=rf"{CONV}: its weight is no longer a parameter"):
            call()
    with pytest.raises(RuntimeError, match=rf"{CONV} became another class"):
        model(x)
    parametrize.remove_parametrizations(model.get_submodule(CONV), "weight")
    assert_trains(model, sparsebp.optim.SGD(model, lr=0.05))
    del opt


def test_a_parametrised_single_convolution_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3))
    sparsebp.nn.replace(net, "0", 0.5)
    parametrizations.weight_norm(net[0])
    with pytest.raises(RuntimeError, match="0: its weight is no parameter any more"):
        net(batch(SIZE, 1)[0])


@pytest.mark.parametrize("change", [hook, patch])
def test_a_single_convolution_with_additions_is_not_replaced(change: Callable[[nn.Module], None]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3))
    change(net[0])
    with pytest.raises(TypeError, match="hooks, a replaced forward"):
        sparsebp.nn.replace(net, "0", 0.5)
    assert type(net[0]) is nn.Conv2d


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_single_convolution_computes_in_its_own_type_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    x, _ = batch(SIZE, 2)
    expected = net(x).detach()
    sparsebp.nn.replace(net, "2", 1.0)
    with torch.autocast("cpu", dtype):
        out = net(x)
        loss = out.float().square().sum()
    loss.backward()
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)
    assert net[2].weight.grad.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_dropout_drops_as_its_own_module_is_set() -> None:
    net = network()
    net.add_module("drop", nn.Dropout(0.5))
    net.append(nn.Linear(10, 10))
    model = sparsebp.convert(net, "64KB", input_size=SIZE).train()
    x, _ = batch(SIZE, 1)
    assert not torch.equal(model(x), model(x))
    model.drop.eval()
    assert torch.equal(model(x), model(x))
    model.eval()
    model.drop.train()
    assert not torch.equal(model(x), model(x))


def test_dropouts_that_disagree_are_refused() -> None:
    net = network()
    net.add_module("drop", nn.Dropout(0.5))
    net.add_module("again", nn.Dropout(0.5))
    net.append(nn.Linear(10, 10))
    model = sparsebp.convert(net, "64KB", input_size=SIZE).train()
    model.drop.eval()
    with pytest.raises(RuntimeError, match="some dropout layers are in training mode and some are not"):
        model(batch(SIZE, 1)[0])


@pytest.mark.parametrize(("layer", "setting", "value"), [("second.1", "eps", 0.1), ("second.0", "stride", (2, 2))])
def test_a_setting_changed_after_convert_is_refused(layer: str, setting: str, value: object) -> None:
    model = sparsebp.convert(network(), "64KB", input_size=SIZE)
    setattr(model.get_submodule(layer), setting, value)
    with pytest.raises(RuntimeError, match=rf"{layer}\.{setting} was changed"):
        model(batch(SIZE, 1)[0])
