"""SparseConv2d inside autograd: gradcheck in float64, and which backward passes there may be."""

from __future__ import annotations

import copy
import pickle

import pytest
import sparsebp
import torch
from networks import relative_error
from sparsebp.nn import SparseConv2d
from torch import nn

CONVOLUTIONS = {
    "pointwise": (nn.Conv2d(3, 5, 1), (4, 3)),
    "plain": (nn.Conv2d(3, 4, 3, padding=1), (4, 5)),
    "depthwise": (nn.Conv2d(5, 5, 3, padding=1, groups=5), (4, 3)),
    "depthwise strided": (nn.Conv2d(5, 5, 3, stride=2, padding=1, groups=5), (5, 4)),
    "strided": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (5, 6)),
    "strided past its kernel": (nn.Conv2d(3, 4, 1, stride=2), (5, 4)),
    "grouped": (nn.Conv2d(6, 4, 3, padding=1, groups=2), (4, 3)),
    "dilated": (nn.Conv2d(3, 4, 3, padding=2, dilation=2), (5, 4)),
    "asymmetric": (nn.Conv2d(3, 4, (2, 3), padding="same"), (4, 5)),
    "without bias": (nn.Conv2d(3, 4, 3, bias=False), (4, 5)),
}


def images(channels: int, size: tuple[int, int] = (4, 3), count: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, *size, generator=generator, dtype=torch.float64, requires_grad=True)


def conv(seed: int = 0, **options: object) -> nn.Conv2d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Conv2d(6, 4, 3, padding=1, dtype=torch.float64, **options)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_gradcheck(kind: str) -> None:
    layer, size = CONVOLUTIONS[kind]
    layer = copy.deepcopy(layer).double()

    def forward(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        # gradcheck runs further forward passes while it holds an output, so each call has its own arena.
        return SparseConv2d(layer, ratio=1.0)(x)

    SparseConv2d(layer, ratio=1.0)  # from here on the weight has its final memory order
    parameters = [p for p in (layer.weight, layer.bias) if p is not None]
    assert torch.autograd.gradcheck(forward, (images(layer.in_channels, size), *parameters))


def test_a_gradient_of_the_gradient_is_refused() -> None:
    x = images(6)
    layer = SparseConv2d(conv(), ratio=1.0)
    (dx,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_a_kept_graph_can_be_run_back_again() -> None:
    """As with any module: every backward pass adds the same gradients once more."""
    layer, x = SparseConv2d(conv(), ratio=0.5), images(6)
    loss = layer(x).square().sum()
    loss.backward(retain_graph=True)
    once = [t.grad.clone() for t in (x, layer.weight, layer.bias)]
    loss.backward(retain_graph=True)
    loss.backward()
    for t, grad in zip((x, layer.weight, layer.bias), once, strict=True):
        torch.testing.assert_close(t.grad, 3 * grad, rtol=1e-15, atol=0)


def test_gradients_of_different_outputs_do_not_mix() -> None:
    """Sums are cleared before each pass: rows of the Jacobian come out one by one."""
    source, x = conv(), images(6, count=1)
    layer = SparseConv2d(copy.deepcopy(source), ratio=1.0)
    y, expected = layer(x), source(x)
    for i in (0, 7, 40):
        row = torch.autograd.grad(y.flatten()[i], (x, layer.weight, layer.bias), retain_graph=True)
        wanted = torch.autograd.grad(expected.flatten()[i], (x, source.weight, source.bias), retain_graph=True)
        for a, b in zip(row, wanted, strict=True):
            assert relative_error(a, b) < 1e-14


def test_gradients_add_up_over_steps_without_zero_grad() -> None:
    source = conv()
    layer = SparseConv2d(copy.deepcopy(source), ratio=1.0)
    for seed in (1, 2):
        layer(images(6, seed=seed)).square().sum().backward()
        source(images(6, seed=seed)).square().sum().backward()
    assert relative_error(layer.weight.grad, source.weight.grad) < 1e-14
    assert relative_error(layer.bias.grad, source.bias.grad) < 1e-14


def test_the_arena_is_free_again_when_the_graph_is_dropped() -> None:
    layer = SparseConv2d(conv(), ratio=0.5)
    loss = layer(images(6)).sum()
    arena = layer.runner().last.program.arena
    assert arena.held["saved"] > 0
    loss.backward(retain_graph=True)
    assert arena.held["saved"] > 0
    del loss
    assert arena.held["saved"] == 0


def test_a_forward_pass_that_is_dropped_frees_the_arena() -> None:
    layer = SparseConv2d(conv(), ratio=0.5)
    loss = layer(images(6)).sum()
    arena = layer.runner().last.program.arena
    del loss
    assert arena.held["saved"] == 0


def test_the_next_forward_pass_ends_what_was_kept() -> None:
    """The usual loop still holds the last loss when the next forward pass begins."""
    layer = SparseConv2d(conv(), ratio=0.5)
    old = layer(images(6)).sum()
    old.backward(retain_graph=True)
    new = layer(images(6)).sum()
    with pytest.raises(RuntimeError, match="used already"):
        old.backward()
    new.backward()


def test_of_two_forward_passes_the_newer_one_goes_back() -> None:
    layer = SparseConv2d(conv(), ratio=0.5)
    first, second = layer(images(6)).sum(), layer(images(6)).sum()
    with pytest.raises(RuntimeError, match="took this one's place"):
        first.backward()
    assert layer.weight.grad is None
    second.backward()
    assert layer.weight.grad is not None
    with pytest.raises(RuntimeError, match="needs two training forward passes"):
        (layer(images(6)).sum() + layer(images(6)).sum()).backward()


def test_a_weight_that_changed_since_the_forward_pass_is_noticed() -> None:
    """As torch does for its own convolution: the gradient of the input would be wrong."""
    layer = SparseConv2d(conv(), ratio=0.5)
    loss = layer(images(6)).sum()
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def dense_step(source: nn.Conv2d, x: torch.Tensor, lr: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias after one step of plain SGD on ``sum(y ** 2)``."""
    source.zero_grad()
    source(x).square().sum().backward()
    return source.weight - lr * source.weight.grad, source.bias - lr * source.bias.grad


@pytest.mark.parametrize("copied", ["as made", "deepcopied", "pickled"])
def test_our_sgd_updates_in_place(copied: str) -> None:
    """No ``.grad`` appears; the selected columns take a dense step, the others stay as they are."""
    layer = SparseConv2d(conv(), ratio=0.5, seed=3)
    if copied == "deepcopied":
        layer = copy.deepcopy(layer)
    elif copied == "pickled":
        layer = pickle.loads(pickle.dumps(layer))
    opt = sparsebp.optim.SGD(layer, lr=0.01)
    sets = set()
    for seed in range(4):
        x, source = images(6, seed=seed), conv()
        source.load_state_dict(layer.state_dict())
        layer(x).square().sum().backward()
        weight, bias = dense_step(source, x, 0.01)
        chosen = layer.channels
        rest = [c for c in range(6) if c not in chosen]
        assert layer.weight.grad is None
        assert relative_error(layer.weight[:, chosen], weight[:, chosen]) < 1e-14
        assert torch.equal(layer.weight[:, rest], source.weight[:, rest])
        assert relative_error(layer.bias, bias) < 1e-14
        opt.step()
        opt.zero_grad()
        sets.add(tuple(chosen.tolist()))
    assert len(sets) > 1, "the update set never changed"


def test_in_place_the_set_stays_until_the_step() -> None:
    layer = SparseConv2d(conv(), ratio=0.5)
    opt = sparsebp.optim.SGD(layer, lr=0.01)
    sets = []
    for _ in range(5):
        layer(images(6)).sum().backward()
        sets.append(layer.channels)
    assert all(torch.equal(s, sets[0]) for s in sets)
    opt.step()
    layer(images(6)).sum().backward()
    assert not torch.equal(layer.channels, sets[0])


def test_in_place_a_second_backward_is_refused() -> None:
    layer = SparseConv2d(conv(), ratio=0.5)
    opt = sparsebp.optim.SGD(layer, lr=0.01)
    loss = layer(images(6)).sum()
    loss.backward(retain_graph=True)
    trained = layer.weight.detach().clone()
    with pytest.raises(RuntimeError, match="used already"):
        loss.backward()
    assert torch.equal(layer.weight, trained)
    opt.step()


def test_without_our_sgd_autograd_gets_gradients_again() -> None:
    layer = SparseConv2d(conv(), ratio=0.5)
    opt = sparsebp.optim.SGD(layer, lr=0.01)
    layer(images(6)).sum().backward()
    assert layer.weight.grad is None
    del opt
    before = layer.weight.detach().clone()
    layer(images(6)).sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight, before)


def test_our_sgd_refuses_momentum_for_it() -> None:
    with pytest.raises(ValueError, match="momentum"):
        sparsebp.optim.SGD(SparseConv2d(conv(), ratio=0.5), lr=0.1, momentum=0.9)


def test_our_sgd_trains_it_beside_ordinary_parameters() -> None:
    model = nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)).double()
    sparse = copy.deepcopy(model)
    assert sparsebp.nn.replace(sparse, "*", ratio=1.0) == ["0"]
    ours, torchs = sparsebp.optim.SGD(sparse, lr=0.05), torch.optim.SGD(model.parameters(), lr=0.05)
    for seed in range(3):
        x = images(6, seed=seed).detach()
        for network, opt in ((sparse, ours), (model, torchs)):
            network(x).square().sum().backward()
            opt.step()
            opt.zero_grad()
    for a, b in zip(sparse.parameters(), model.parameters(), strict=True):
        assert relative_error(a, b) < 1e-12


def test_after_assigning_weights_our_sgd_still_updates_in_place() -> None:
    layer = SparseConv2d(conv(), ratio=1.0)
    layer.load_state_dict({k: v.clone() for k, v in conv(seed=5).state_dict().items()}, assign=True)
    opt = sparsebp.optim.SGD(layer, lr=0.01)
    x = images(6)
    weight, bias = dense_step(conv(seed=5), x, 0.01)
    layer(x).square().sum().backward()
    opt.step()
    assert layer.weight.grad is None
    assert relative_error(layer.weight, weight) < 1e-14
    assert relative_error(layer.bias, bias) < 1e-14
