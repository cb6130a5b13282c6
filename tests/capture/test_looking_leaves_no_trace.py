"""What a model's own code does while sparsebp looks at it is undone, and what was read is what the model computes."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import sparsebp
import torch
from networks import batch
from odd_networks import Calls, classify, network, plan
from sparsebp import UnsupportedModel
from sparsebp.capture import tracing
from sparsebp.capture.probe import run_both
from torch import nn
from torch.nn import functional
from training import SIZE, one_thread  # noqa: F401


class Remembers(Calls):
    """Keeps what it sees in every kind of container."""

    def __init__(self) -> None:
        super().__init__(self.remember)
        self.calls, self.kept, self.cache, self.seen = [0], [], {}, set()
        self.statistics = {"mean": torch.zeros(1)}
        self.numbers = np.zeros(2)

    def remember(self, m: Calls, x: torch.Tensor) -> torch.Tensor:
        self.calls[0] += 1
        self.numbers += 1
        self.seen.add(self.calls[0])
        self.statistics["mean"].add_(1)
        self.kept.append(x)
        self.cache["last"] = x
        return classify(m, m.conv(x))


def test_containers_hold_what_they_held() -> None:
    net = Remembers()
    plan(net)
    assert (net.calls, net.kept, net.cache, net.seen) == ([0], [], {}, set())
    assert net.statistics["mean"].item() == 0
    assert net.numbers.tolist() == [0, 0]
    assert isinstance(net(batch(SIZE, 1)[0]), torch.Tensor)


def test_what_is_made_on_the_way_is_not_kept() -> None:
    def run(m: Calls, x: torch.Tensor) -> torch.Tensor:
        if not hasattr(m, "late"):
            m.late = nn.Conv2d(3, 3, 1)
            m.register_buffer("made", torch.zeros(1))
        m.conv.weight.requires_grad_(False)
        return classify(m, m.late(m.conv(x)))

    net = Calls(run)
    keys = list(net.state_dict())
    with pytest.raises(UnsupportedModel):
        plan(net)
    assert list(net.state_dict()) == keys
    assert net.conv.weight.requires_grad


def test_generators_of_random_numbers_are_wound_back() -> None:
    def run(m: Calls, x: torch.Tensor) -> torch.Tensor:
        scale = random.random() + np.random.rand() + torch.rand(1).item()
        return classify(m, m.conv(x * (1 if scale > -1 else 0)))

    net = Calls(run)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    plan(net)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_devices_that_the_network_is_not_on_get_no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    plan(network())
    assert seeds == []


def test_the_sign_of_a_zero_is_a_bit() -> None:
    class Negates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("zero", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.zero.neg_()
            return x + self.zero if x.sum() > -1e9 else x

    net = network(Negates())
    plan(net)
    assert not torch.signbit(net.middle0.zero).any()


def test_every_look_begins_with_what_there_was() -> None:
    """The model is traced twice and then run: each of them is its first call, as far as it can tell."""

    def run(m: Calls, x: torch.Tensor) -> torch.Tensor:
        m.calls += 1
        return classify(m, m.conv(x) if m.calls <= 2 else m.act(m.conv(x)))  # the run calls it twice

    net = Calls(run)
    net.calls = 0
    plan(net)
    assert net.calls == 0


# -- what is read is what is computed ---------------------------------------------------------------


@pytest.mark.parametrize("inplace", [1, True])
def test_in_place_is_whatever_is_true(inplace: object) -> None:
    def run(m: Calls, x: torch.Tensor) -> torch.Tensor:
        x = m.conv(x)
        m.act(x)
        return classify(m, x)

    net = Calls(run).eval()
    net.act = nn.ReLU(inplace)
    x, _ = batch(SIZE, 2)
    expected = net(x).detach()
    torch.testing.assert_close(sparsebp.convert(net, "64KB", input_size=SIZE).eval()(x), expected)


def test_a_head_of_zeros_hides_nothing() -> None:
    def run(m: Calls, x: torch.Tensor) -> torch.Tensor:
        return classify(m, m.conv(x) if isinstance(x, torch.Tensor) else x)

    net = Calls(run)
    nn.init.zeros_(net.classifier.weight), nn.init.zeros_(net.classifier.bias)
    with pytest.raises(UnsupportedModel, match="computes something else"):
        plan(net)
    assert not net.classifier.weight.any()


def test_zeros_are_zeros_again_after_they_were_compared_as_noise() -> None:
    net = Calls(lambda m, x: classify(m, m.conv(x))).eval()
    nn.init.zeros_(net.classifier.weight)
    version, (x, _) = net.classifier.weight._version, batch(SIZE, 2)
    expected = net(x).detach()
    model = sparsebp.convert(net, "64KB", input_size=SIZE).eval()
    assert not net.classifier.weight.any()
    assert net.classifier.weight._version == version
    torch.testing.assert_close(model(x), expected)


def test_a_network_that_computes_something_else_natively_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Calls(lambda m, x: classify(m, m.conv(x)))
    strides = [p.stride() for p in net.parameters()]
    monkeypatch.setattr(tracing, "run_both", lambda *arguments: [y * 1.01 for y in run_both(*arguments)])
    with pytest.raises(UnsupportedModel, match="run natively it computes something else than in torch"):
        sparsebp.convert(net, "64KB", input_size=SIZE)
    assert [p.stride() for p in net.parameters()] == strides
    assert all(p.requires_grad for p in net.parameters())


def cast_statistics(m: Calls, x: torch.Tensor) -> torch.Tensor:
    n = m.norm
    mean, var = n.running_mean.clone(), n.running_var.to(x.dtype)
    return classify(m, m.conv(functional.batch_norm(x, mean, var, n.weight, n.bias, m.training)))


class PlainStatistics(nn.Module):
    """Statistics in an attribute that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.mean((0, 2, 3))[:, None, None])
            return x - x.mean((0, 2, 3))[:, None, None]
        return x - self.mean


def plain_statistics() -> nn.Module:
    return network(nn.Conv2d(8, 3, 1), PlainStatistics(), nn.Conv2d(3, 8, 1))


@pytest.mark.parametrize("make", [lambda: Calls(cast_statistics), plain_statistics])
def test_statistics_are_known_however_they_are_kept(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make().eval()
    x, _ = batch(SIZE, 2)
    expected = net(x).detach()
    model = sparsebp.convert(net, "64KB", input_size=SIZE, batch_size=2).train()
    opt = sparsebp.optim.SGD(model, lr=0.0)
    out = model(x)
    out.sum().backward()
    opt.step()
    torch.testing.assert_close(out.detach(), expected)
    torch.testing.assert_close(model.eval()(x), expected)


class Draws(nn.Module):
    def __init__(self, draw: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.draw, self.generator = draw, torch.Generator()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.draw(self, x) if self.training and x.sum() > -1e9 else x


@pytest.mark.parametrize(
    "draw",
    [
        lambda m, x: x * random.random(),
        lambda m, x: x * float(np.random.rand()),
        lambda m, x: x * torch.rand(1, generator=m.generator),
        lambda m, x: x * torch.rand(1) if x.any() else x,
    ],
)
def test_whoever_draws_makes_a_prefix_random(draw: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
    model = sparsebp.convert(network(Draws(draw)), "64KB", input_size=SIZE).train()
    assert model.prefix_is_random


# -- gradients as training mode has them -------------------------------------------------------------


def test_gradients_stop_where_training_mode_stops_them() -> None:
    def stopped(m: Calls, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad() if m.training else nullcontext():
            x = m.conv(x)
        return classify(m, m.second(x))

    def allowed(m: Calls, x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(m.training):
            return classify(m, m.second(m.conv(x)))

    def alias(m: Calls, x: torch.Tensor) -> torch.Tensor:
        x = m.conv(x)
        with torch.no_grad():
            x = x.contiguous()
        return classify(m, m.second(x))

    trained = []
    for run in (stopped, allowed, alias):
        net = Calls(run)
        net.second = nn.Conv2d(3, 3, 3)
        trained.append(plan(net))
    assert trained == [["second", "classifier"], ["conv", "second", "classifier"], ["second", "classifier"]]
