"""What runs in torch before the native ops computes what it computed, whatever its code does in training mode."""

from __future__ import annotations

import types
from collections.abc import Callable

import pytest
import sparsebp
import torch
from networks import batch
from odd_networks import Calls, classify, network
from sparsebp import UnsupportedModel
from torch import nn
from torch.nn import functional
from training import SIZE, assert_same, everything, one_thread  # noqa: F401

Run = Callable[[Calls, torch.Tensor], torch.Tensor]


class NormAct(nn.BatchNorm2d):
    """A norm with a forward of its own, as many libraries have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        statistics = (self.running_mean, self.running_var, self.weight, self.bias)
        return functional.leaky_relu(functional.batch_norm(x, *statistics, self.training, self.momentum, self.eps))


class Centre(nn.Module):
    """Statistics that training mode assigns anew."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean((0, 2, 3)).detach()
        return x - self.mean[None, :, None, None]


class DropPath(nn.Module):
    """Stochastic depth that leaves evaluation mode without an op."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(0.5) * 2


class FrozenNorm(nn.Module):
    """Computed from buffers alone, which a checkpoint may bring."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("variance", torch.rand(3) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.variance.rsqrt().reshape(1, -1, 1, 1)


class MaxNorm(nn.Conv2d):
    """Assigns its weight's memory in every forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.weight.data = torch.renorm(self.weight.data, 2, 0, 0.1)
        return super().forward(x)


def behind(*middle: nn.Module) -> Callable[[], nn.Module]:
    """A network with modules between two convolutions."""
    return lambda: nn.Sequential(nn.Conv2d(3, 3, 3), *middle, nn.Conv2d(3, 8, 3), nn.ReLU(), *classifier(8))


def classifier(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)


def calls(run: Run) -> Callable[[], nn.Module]:
    return lambda: Calls(lambda m, x: m.classifier(m.conv(run(m, x)).relu().mean((2, 3))))


def functional_norm(m: Calls, x: torch.Tensor) -> torch.Tensor:
    norm = m.norm
    return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, m.training)


def written_view(m: Calls, x: torch.Tensor) -> torch.Tensor:
    y = m.norm(x).sigmoid()
    y[:, :2].mul_(3)
    return y


def written_half(m: Calls, x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    first = y.chunk(2, 1)[0]
    functional.relu_(first)
    return y


STATEFUL: dict[str, Callable[[], nn.Module]] = {
    "norm with a forward of its own": behind(NormAct(3)),
    "functional batch norm": calls(functional_norm),
    "statistics assigned": behind(Centre()),
    "momentum of statistics without affine": behind(nn.MaxPool2d(2), nn.BatchNorm2d(3, affine=False)),
    "instance norm that tracks": behind(nn.InstanceNorm2d(3, track_running_stats=True)),
    "frozen norm": behind(FrozenNorm()),
    "weights assigned": behind(MaxNorm(3, 3, 1)),
    "spectral norm": behind(nn.utils.spectral_norm(nn.Conv2d(3, 3, 1))),
    "synchronised batch norm": behind(nn.MaxPool2d(2), nn.SyncBatchNorm(3)),
    "view written": calls(written_view),
    "half written": calls(written_half),
    "drop path": behind(DropPath()),
}


@pytest.mark.parametrize("make", STATEFUL.values(), ids=STATEFUL.keys())
def test_statistics_stay_and_training_passes_use_them(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make()
    with torch.no_grad():
        net.train()(torch.randn(8, *SIZE) + 1)
    x, _ = batch(SIZE, 2)
    with torch.no_grad():
        expected = net.eval()(x)
    before = everything(net)
    for call in (sparsebp.min_budget, lambda *a, **k: sparsebp.plan(*a, "64KB", **k)):
        call(net, input_size=SIZE, batch_size=2)
        assert_same(everything(net), before)
    model = sparsebp.convert(net, "64KB", input_size=SIZE, batch_size=2).train()
    opt = sparsebp.optim.SGD(model, lr=0.0)
    if not model.prefix_is_random:
        torch.testing.assert_close(model(x).detach(), expected)
    for module in model.children():
        module.train()  # a loop may do this to parts of a model
    model(x).sum().backward()
    opt.step()
    values = {k: v for k, v in everything(net).items() if k.startswith("value")}
    assert_same(values, {k: v for k, v in before.items() if k.startswith("value")})
    torch.testing.assert_close(model.eval()(x), expected)


def test_buffers_loaded_after_convert_are_the_ones_that_count() -> None:
    model = sparsebp.convert(behind(FrozenNorm())(), "64KB", input_size=SIZE).eval()
    loaded = {n: t * 2 if n == "1.variance" else t for n, t in model.state_dict().items()}
    x, _ = batch(SIZE, 1)
    for assign in (False, True):
        model.load_state_dict(loaded, assign=assign)
        with torch.no_grad():
            torch.testing.assert_close(model(x), model.original(x))


RANDOM: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "dropout": (behind(nn.Softsign(), nn.Dropout2d(0.5)), True),
    "dropout of nothing": (behind(nn.Softsign(), nn.Dropout2d(0.0)), False),
    "stochastic depth": (behind(DropPath()), True),
    "noise": (calls(lambda m, x: x + torch.randn_like(x)), True),
    "randomised ReLU": (behind(nn.RReLU()), True),
    "functional, off in evaluation": (calls(lambda m, x: functional.alpha_dropout(x, 0.5, m.training)), True),
    "batch norm": (behind(nn.Softsign(), nn.BatchNorm2d(3)), False),
    "functional batch norm": (calls(functional_norm), False),
}


@pytest.mark.parametrize(("make", "is_random"), RANDOM.values(), ids=RANDOM.keys())
def test_a_prefix_is_random_if_two_training_passes_may_differ(make: Callable[[], nn.Module], is_random: bool) -> None:
    model = sparsebp.convert(make(), "64KB", input_size=SIZE).train()
    x, _ = batch(SIZE, 1)
    assert model.prefix_is_random == is_random
    first = model.run_prefix(x)
    assert all(torch.equal(model.run_prefix(x), first) for _ in range(20)) != is_random


def double(net: nn.Sequential, method: str) -> None:
    module = net[2]
    plain = getattr(nn.Conv2d, method)
    setattr(module, method, types.MethodType(lambda self, *a: 2 * plain(self, *a), module))


@pytest.mark.parametrize("method", ["forward", "_conv_forward"])
def test_a_patched_forward_runs(method: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), *classifier(8)).eval()
    double(net, method)
    x, _ = batch(SIZE, 1)
    expected = net(x).detach()
    model = sparsebp.convert(net, "64KB", input_size=SIZE).eval()
    assert [layer.name for layer in model.plan] == ["3", "6"]
    torch.testing.assert_close(model(x), expected)


def test_a_patched_forward_behind_everything_is_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), *classifier(8))
    double(net, "forward")
    with pytest.raises(UnsupportedModel, match=r"Conv2d with another forward \(1, first: 2\)"):
        sparsebp.plan(net, "64KB", input_size=SIZE)


def test_a_subclass_without_a_forward_of_its_own_is_native() -> None:
    class Named(nn.Conv2d):
        pass

    net = nn.Sequential(Named(3, 8, 3), nn.ReLU(), *classifier(8))
    assert [layer.name for layer in sparsebp.plan(net, "64KB", input_size=SIZE)] == ["0", "4"]


def test_a_whole_model_with_another_forward_is_refused() -> None:
    net = network()
    net.forward = lambda x: x
    with pytest.raises(UnsupportedModel, match=r"Sequential\.forward of this model was replaced"):
        sparsebp.plan(net, "64KB", input_size=SIZE)


# -- gradients that stop ---------------------------------------------------------------------------


def test_what_runs_under_no_grad_is_frozen() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
            self.classifier = nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                x = self.body(x).relu()
            return self.classifier(self.head(x).relu().mean((2, 3)))

    net = Backbone()
    assert [layer.name for layer in sparsebp.plan(net, "64KB", input_size=SIZE)] == ["head", "classifier"]
    with pytest.raises(
        UnsupportedModel, match=r"body cannot train.*no_grad \(2, first: conv|body cannot train.*no_grad"
    ):
        sparsebp.plan(net, "64KB", input_size=SIZE, ratios={"body": 0.5})


def test_a_network_without_any_gradient_is_refused() -> None:
    run = torch.no_grad()(lambda m, x: classify(m, m.conv(x)))
    with pytest.raises(UnsupportedModel, match="no_grad"):
        sparsebp.plan(Calls(run), "64KB", input_size=SIZE)


# -- whatever it is: a plan or a reason -------------------------------------------------------------

ODD: dict[str, Run] = {
    "pooled by sizes": lambda m, x: m.classifier(functional.avg_pool2d(m.conv(x), x.size()[2:]).flatten(1)),
    "pooled by one size": lambda m, x: m.classifier(functional.avg_pool2d(m.conv(x), x.size(2)).flatten(1)),
    "pooled by a shape": lambda m, x: m.classifier(functional.avg_pool2d(m.conv(x), x.shape[-2:]).flatten(1)),
    "pooled by an attribute": lambda m, x: m.classifier(functional.avg_pool2d(m.conv(x), (x.shape[2], 16)).flatten(1)),
}
REFUSED: dict[str, tuple[Run, str]] = {
    "rolled": (lambda m, x: classify(m, torch.roll(m.conv(x), 1, 1)), r"roll \(1, "),
    "sorted": (lambda m, x: classify(m, torch.sort(m.conv(x), 1)[0]), r"sort \(1, .*getitem \(1, "),
    "cumulated": (lambda m, x: classify(m, m.conv(x).cumsum(1)), r"cumsum \(1, "),
    "mixes images": (lambda m, x: classify(m, m.conv(x) - x.mean(0, keepdim=True)), "mixes the images"),
    "one image": (lambda m, x: classify(m, m.conv(x)).view(1, -1), "mixes the images"),
    "numbers": (lambda m, x: classify(m, m.conv(x) * float(x.sum())), "cannot be traced"),
    "autocast": (lambda m, x: torch.autocast("cpu", torch.bfloat16)(classify)(m, m.conv(x)), "autocast"),
    "type": (lambda m, x: classify(m, m.conv(x) if isinstance(x, torch.Tensor) else x), "computes something else"),
    "nothing": (lambda m, x: None, "returns nothing that depends on its images"),
    "error": (lambda m, x: m.no_such_layer(x), "no_such_layer"),
    "never ends": (lambda m, x: m.run(m, x), "recursion"),
}


@pytest.mark.parametrize("run", ODD.values(), ids=ODD.keys())
def test_sizes_may_be_computed(run: Run) -> None:
    net = Calls(run).eval()
    x, _ = batch(SIZE, 2)
    expected = net(x).detach()
    model = sparsebp.convert(net, "64KB", input_size=SIZE).eval()
    assert [layer.name for layer in model.plan] == ["conv", "classifier"]
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize(("run", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_network_that_cannot_be_planned_is_told_why(run: Run, words: str) -> None:
    net = Calls(run)
    before, attributes = everything(net), set(vars(net))
    with pytest.raises(UnsupportedModel, match=words):
        sparsebp.convert(net, "64KB", input_size=SIZE)
    assert_same(everything(net), before)
    assert set(vars(net)) == attributes
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_lazy_and_wrapped_models_are_refused_with_the_remedy() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), *classifier(8))
    with pytest.raises(UnsupportedModel, match="run the model once"):
        sparsebp.plan(lazy, "64KB", input_size=SIZE)
    with pytest.raises(UnsupportedModel, match=r"model\.module"):
        sparsebp.plan(nn.DataParallel(network()), "64KB", input_size=SIZE)
    with pytest.raises(UnsupportedModel, match="_orig_mod"):
        sparsebp.plan(torch.compile(network(), backend="eager"), "64KB", input_size=SIZE)
