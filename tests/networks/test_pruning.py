"""Pruning leaves out what matters least, and what is left is a network like any other."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

import pytest
import sparsebp
import torch
from sparsebp.networks.mobilenet_v2 import mobilenet_v2
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


def test_images_alone_count_as_what_the_network_takes_them_for() -> None:
    model, x = half_dead(), images(4)
    labelled = [(x, model(x).argmax(dim=1))]
    for made in ([x], iter([x]), [x[:2], x[2:]]):
        alone, told = sparsebp.prune(model, x[:1], 0.5, made), sparsebp.prune(model, x[:1], 0.5, labelled)
        assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), told.parameters(), strict=True))


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_the_share_is_of_all_channels_and_every_layer_keeps_eight(ratio: float) -> None:
    """One layer may lose more than another; what is left of each is a multiple of eight."""

    def widths(model: nn.Module) -> list[int]:
        """Of the channels that can be cut apart from each other: all but the depthwise ones and those added up."""
        names = ["features.0.0", "features.18.0", *(f"features.{i}.conv.0.0" for i in range(2, 18))]
        streams = ["features.1.conv.1", *(f"features.{i}.conv.2" for i in (2, 4, 7, 11, 14, 17))]
        return [model.get_submodule(name).out_channels for name in names + streams]

    model = mobilenet_v2(10)
    before, after = widths(model), widths(sparsebp.prune(model, images(1), ratio))
    assert all(left % 8 == 0 and left >= 8 for left in after)
    most = 1 - 8 * len(before) / sum(before)
    assert 1 - sum(after) / sum(before) == pytest.approx(min(ratio, most), abs=8 / sum(before))


def test_grouped_convolutions_keep_their_groups() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 48, 3, groups=4), nn.GroupNorm(3, 48), nn.Conv2d(48, 7, 1)
    )
    pruned = sparsebp.prune(model, images(1), 0.5)
    assert pruned[0].out_channels + pruned[2].out_channels == 40
    assert pruned[2].groups == 4
    assert pruned[2].out_channels % 8 == 0
    assert pruned(images()).shape == model(images()).shape
    again = sparsebp.resize_like(copy.deepcopy(model), pruned.state_dict())
    again.load_state_dict(pruned.state_dict())
    torch.testing.assert_close(again(images()), pruned(images()))


class HeadFirst(nn.Module):
    """Its last layer is the first that it names, and it has two."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.other = nn.Conv2d(64, 100, 1), nn.Linear(64, 24)
        self.trunk = nn.Conv2d(3, 64, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.trunk(x))
        return self.head(y), self.other(y.mean((2, 3)))


def test_outputs_stay_wherever_the_model_names_them() -> None:
    pruned = sparsebp.prune(HeadFirst(), images(1), 0.5)
    assert (pruned.trunk.out_channels, pruned.head.out_channels, pruned.other.out_features) == (32, 100, 24)


def test_each_part_keeps_its_mode_and_no_mode_of_torch_is_in_the_way() -> None:
    model = mobilenet_v2(10).train()
    model.features[3].eval()
    with torch.inference_mode():
        made_inside = images()
        pruned = sparsebp.prune(model, made_inside[:1], 0.2, [made_inside])
    assert [m.training for m in pruned.modules()] == [m.training for m in model.modules()]
    assert not any(p.is_inference() for p in pruned.parameters())
    with torch.no_grad():
        again = sparsebp.prune(model, images(1), 0.2, [images()])
    assert [p.shape for p in again.parameters()] == [p.shape for p in pruned.parameters()]


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 4, 1))
    model[2].weight = model[1].weight
    return model


@pytest.mark.parametrize(
    ("model", "data", "error", "words"),
    [
        (tied, None, ValueError, "model: two of its layers share a weight"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3, groups=16), nn.Conv2d(32, 4, 1)),
            None,
            ValueError,
            "model: 1 has 2 filters a channel",
        ),
        (half_dead, [images()[:0]], ValueError, "data: expected at least one batch"),
        (half_dead, [images() * float("nan")], ValueError, "data: its gradients are not finite"),
        (half_dead, (images(), torch.zeros(2, dtype=torch.long)), TypeError, r"data: .*got torch.int64 \[2\]"),
        (half_dead, [images().to(torch.uint8)], TypeError, "data: .*got torch.uint8"),
        (half_dead, [(images(), torch.zeros(2))], TypeError, r"data: expected whole-number labels \[2\]"),
        (half_dead, [(images(), torch.tensor([0, 5]))], ValueError, "data: expected labels of 0 to 4, .*got 0 to 5"),
    ],
)
def test_what_cannot_be_pruned_is_said(
    model: Callable[[], nn.Module], data: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        sparsebp.prune(model(), images(1), 0.5, data)  # type: ignore[arg-type]


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
        (lambda m: sparsebp.resize_like(m, None), TypeError, "tensors: expected a state_dict, got NoneType"),
        (
            lambda m: sparsebp.resize_like(sparsebp.convert(m, "256KB", input_size=(3, SIDE, SIDE)), m.state_dict()),
            TypeError,
            "resize first, then convert",
        ),
        (
            lambda m: sparsebp.resize_like(nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 1).state_dict()),
            ValueError,
            "a kernel of the same size",
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
