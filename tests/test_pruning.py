"""Pruning leaves out what matters least, and what is left is a network like any other."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

import pytest
import sparsebp
import torch
from sparsebp.models import mobilenet_v2
from torch import nn
from torch.nn.functional import cross_entropy

pytest.importorskip("torch_pruning", reason="pruning needs torch-pruning: pip install 'sparsebp[prune]'")

SIDE = 64
DEAD = (1, 2, 5, 8, 9, 12, 14, 15)


def half_dead() -> nn.Sequential:
    """Sixteen channels, of which eight contribute nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 5),
    ).eval()
    with torch.no_grad():
        for c in DEAD:
            model[0].weight[c] = 0
            model[3].weight[:, c] = 0
    return model


def images(count: int = 2, side: int = SIDE) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_channels_that_do_nothing_go_first() -> None:
    model = half_dead()
    x = images()
    pruned = sparsebp.prune(model, x[:1], 0.5)
    assert pruned[0].out_channels == 8
    alive = [c for c in range(16) if c not in DEAD]
    torch.testing.assert_close(pruned[0].weight, model[0].weight[alive])


def test_with_data_importance_is_the_effect_on_the_loss() -> None:
    model = half_dead()
    x = images(4)
    with torch.no_grad():  # large weights, without any effect
        for c in DEAD:
            model[0].weight[c] = 5.0
    batches = [(x, torch.tensor([0, 1, 2, 3]))]
    alive = [c for c in range(16) if c not in DEAD]
    by_size, by_effect = sparsebp.prune(model, x[:1], 0.5), sparsebp.prune(model, x[:1], 0.5, batches)
    assert not torch.equal(by_size[0].weight, model[0].weight[alive])
    torch.testing.assert_close(by_effect[0].weight, model[0].weight[alive])


def test_the_original_stays_as_it_is() -> None:
    model = mobilenet_v2(10).train()
    model.features[0][0].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    pruned = sparsebp.prune(model, images(1), 0.3, [(images(2), torch.tensor([1, 2]))])
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model.training
    assert pruned.training
    assert not pruned.features[0][0].weight.requires_grad
    assert all(p.grad is None for m in (model, pruned) for p in m.parameters())


def test_a_pruned_network_converts_trains_saves_and_loads() -> None:
    pruned = sparsebp.prune(mobilenet_v2(10), images(1), 0.25)
    whole, left = (sum(p.numel() for p in m.parameters()) for m in (mobilenet_v2(10), pruned))
    assert left < 0.7 * whole
    model = sparsebp.convert(pruned, "64KB", input_size=(3, SIDE, SIDE), max_update_ratio=0.02).train()
    opt = sparsebp.optim.SGD(model, lr=0.01)
    before = copy.deepcopy(pruned.state_dict())
    for _ in range(3):
        cross_entropy(model(images(1)), torch.tensor([3])).backward()
        opt.step()
    trained = sparsebp.restore(model).eval()
    state = trained.state_dict()
    assert any(not torch.equal(before[k], state[k]) for k in state)
    again = sparsebp.resize_like(mobilenet_v2(10), state).eval()
    again.load_state_dict(state)
    torch.testing.assert_close(again(images()), trained(images()))
    assert [m.groups for m in again.modules() if isinstance(m, nn.Conv2d)] == [
        m.groups for m in trained.modules() if isinstance(m, nn.Conv2d)
    ]


def test_layers_of_their_own_size_stay_as_they_are() -> None:
    """One input channel is no depthwise layer; a depthwise one may have several filters a channel."""
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 4, 1))
    again = sparsebp.resize_like(model, model.state_dict())
    assert [m.groups for m in again] == [1, 8, 1]
    assert again(torch.zeros(1, 1, 9, 9)).shape == (1, 4, 5, 5)
    small = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(12, 4, 1))
    assert sparsebp.resize_like(model, small.state_dict())(torch.zeros(1, 1, 9, 9)).shape == (1, 4, 5, 5)


def test_no_share_leaves_the_network_whole() -> None:
    model = mobilenet_v2(10).eval()
    torch.testing.assert_close(sparsebp.prune(model, images(1), 0.0)(images()), model(images()))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: sparsebp.prune("m", images(1), 0.5), TypeError, "model: expected a torch.nn.Module"),
        (
            lambda m: sparsebp.prune(sparsebp.convert(m, "256KB", input_size=(3, SIDE, SIDE)), images(1), 0.5),
            TypeError,
            "prune first",
        ),
        (lambda m: sparsebp.prune(m, images(1)[0], 0.5), TypeError, r"example: expected a tensor \[N, C, H, W\]"),
        (lambda m: sparsebp.prune(m, images(1), 1), ValueError, "ratio: .*below 1, got 1"),
        (lambda m: sparsebp.prune(m, images(1), 0.5, []), ValueError, "data: expected at least one batch"),
        (lambda m: sparsebp.resize_like(m, {}), ValueError, "tensors: expected the names"),
        (
            lambda m: sparsebp.resize_like(m, mobilenet_v2(10, width_mult=1.4).state_dict()),
            ValueError,
            "expected at most",
        ),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[nn.Module], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(mobilenet_v2(10))


def test_without_the_library_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ImportError, match=r"sparsebp\[prune\]"):
        sparsebp.prune(mobilenet_v2(10), images(1), 0.5)
