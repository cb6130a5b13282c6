"""What the benchmark compares with, how it times, and what it holds the times against."""

from __future__ import annotations

import copy
from collections.abc import Collection

import numpy as np
import pytest
import sparsebp
import torch
from sparsebp import _C
from sparsebp.benchmark import contenders, rates, timing
from sparsebp.benchmark.candidates import StepRequest, prepare_candidates
from sparsebp.benchmark.contenders import TorchModel, first_op, partial
from sparsebp.benchmark.inference import Inference, live_bytes
from sparsebp.benchmark.lower_bound import LowerBound
from sparsebp.benchmark.operation_count import OperationCount, count_operations
from sparsebp.benchmark.rates import Rates, Sample, Yardsticks
from sparsebp.benchmark.steps import Steps
from sparsebp.benchmark.timing import LEAST_ROUNDS, Contender, Effort, Quartiles, interleave
from sparsebp.capture import graph as graphs
from torch import nn

SIZE = (3, 16, 16)


class Residual(nn.Module):
    """Batch norms as attributes, not in a Sequential, and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.block = nn.Conv2d(8, 8, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.running_mean)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(self.stem(x)).relu()
        x = (x + self.norm2(self.block(x))).relu()
        return self.head(self.last(x).mean((2, 3)))


@pytest.fixture
def network() -> Residual:
    torch.manual_seed(0)
    return Residual().eval()


def test_a_partial_model_computes_the_same_and_trains_from_its_cut_on(network: Residual) -> None:
    before = copy.deepcopy(network.state_dict())
    graph = graphs.build(network, SIZE)
    model = partial(network, graph, first_op(graph, "block"))
    x = torch.randn(2, *SIZE)
    torch.testing.assert_close(model(x), network(x))
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)], "folded"
    trained = {name for name, p in model.model.named_parameters() if p.requires_grad}
    assert trained == {f"{name}.{p}" for name in ("block", "last", "head") for p in ("weight", "bias")}
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_batch_norms_stay_frozen_in_training_mode(network: Residual) -> None:
    model = TorchModel(network).train()
    mean = network.norm1.running_mean.clone()
    model(torch.randn(2, *SIZE))
    assert torch.equal(model.model.norm1.running_mean, mean)
    assert model.model.stem.training


def test_a_cut_that_nothing_runs_in(network: Residual) -> None:
    graph = graphs.build(network, SIZE)
    with pytest.raises(ValueError, match="runs no convolution or linear layer in a module named 'norm1'"):
        first_op(graph, "norm1")


def test_every_contender_is_measured(network: Residual) -> None:
    request = StepRequest(16, 16, batch=2, budget=1 << 20, max_update_ratio=0.3, cuts=("last",))
    candidates = prepare_candidates(network, request)
    case = Steps(candidates).measure(1, Effort(1))
    names = [r.contender for r in case.results]
    assert names[:3] == ["sparsebp", "dense", "partial last"]
    ours, dense, last = case.results[:3]
    assert ours.arena > 0 == dense.arena
    assert dense.outside > last.outside > 0
    assert case.ratio(ours) == 1
    assert case.floor is None, "no rates were asked for"
    inference = Inference(candidates).measure(1, Effort(1))
    assert [r.contender for r in inference.results] == ["sparsebp", "torch"]
    assert inference.results[0].workspace == candidates.sparse.plan.inference_bytes


def test_contenders_that_compute_something_else_are_refused(network: Residual, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "fuse_conv_bn_eval", lambda convolution, norm: convolution)
    with pytest.raises(AssertionError, match="partial last: its output differs from the dense model's by "):
        prepare_candidates(network, StepRequest(16, 16, budget=1 << 20, max_update_ratio=0.3, cuts=("last",)))


def test_an_output_that_is_no_classification_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    with pytest.raises(ValueError, match=r"expected an output \[1, classes\] for a batch of 1, got \[1, 4, 12, 12\]"):
        prepare_candidates(network, StepRequest(16, 16, budget=1 << 20, max_update_ratio=1))


def test_the_working_memory_of_inference_is_what_is_alive_at_once() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 16, 1), nn.Conv2d(16, 2, 1))
    pixels = 2 * 8 * 8
    assert live_bytes(network, torch.randn(2, 3, 8, 8)) == 4 * pixels * (4 + 16), "what the middle reads and makes"


# -- timing ---------------------------------------------------------------------------------------


def runs_of(effort: Effort) -> tuple[list[str], dict[str, list[float]]]:
    """Who ran when, ``.`` after each round, and the times."""
    runs: list[str] = []
    both = {name: Contender(lambda _, name=name: runs.append(name)) for name in "ab"}
    return runs, interleave(both, effort, lambda: runs.append("."))


def test_rounds_are_interleaved_and_warmed_up() -> None:
    runs, times = runs_of(Effort(rounds=3))
    assert "".join(runs) == "abba" + "ab.ba.ab."
    assert {name: len(t) for name, t in times.items()} == {"a": 3, "b": 3}


def test_a_turn_is_some_runs_in_a_row_of_which_the_mean_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 0, 0, 1, 1, 4] + [4] * 100)  # the first turn's two runs take a second and three
    monkeypatch.setattr(timing, "WARM_UP_ROUNDS", 0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    runs, times = runs_of(Effort(rounds=1, in_a_row=2))
    assert "".join(runs) == "aabb."
    assert times == {"a": [2000.0], "b": [0.0]}


@pytest.mark.parametrize(
    ("seconds", "warm_up", "rounds"), [(10, 2, 18), (1.5, 2, LEAST_ROUNDS), (0.9, 2, 2), (0.5, 1, 1), (0, 1, 1)]
)
def test_a_slow_machine_gets_fewer_rounds(
    seconds: float, warm_up: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))  # a tenth of a second for each look at it; a round looks five times
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock) / 10)
    runs, times = runs_of(Effort(rounds=20, seconds=seconds))
    assert len(times["a"]) == rounds
    assert runs.count("a") == warm_up + rounds


def test_quartiles_are_interpolated() -> None:
    values = [7.0, 1.0, 2.0, 4.0, 11.0, 3.0]
    found = Quartiles.of(values)
    assert [found.q1, found.median, found.q3] == pytest.approx(np.percentile(values, [25, 50, 75]))
    assert found.spread == pytest.approx((found.q3 - found.q1) / 2)
    assert Quartiles(11.9, 12.34, 12.7).text(1) == "12.3 ±0.4"
    assert Quartiles.of([5.0]) == Quartiles(5.0, 5.0, 5.0)


# -- the floor ------------------------------------------------------------------------------------


def layer_products(network: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Multiply-adds of each layer, from what hooks see of a forward pass in torch."""
    found: dict[str, int] = {}

    def count(name: str, module: nn.Module, output: torch.Tensor) -> None:
        weight = module.weight
        found[name] = output.numel() * weight[0].numel()

    hooks = [
        module.register_forward_hook(lambda m, _, y, name=name: count(name, m, y))
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    return found


def layers_with_an_input_grad(network: nn.Module, trained: Collection[str], x: torch.Tensor) -> set[str]:
    """Where torch's autograd computes a gradient of the input when ``trained`` train, with their batch norms."""
    network = copy.deepcopy(network).requires_grad_(False)
    graph = graphs.build(network, tuple(x.shape[1:]))
    for layer in graph.layers:
        if layer.name in trained:
            for name in filter(None, (layer.name, layer.norm)):
                network.get_submodule(name).requires_grad_(True)
    found: set[str] = set()

    def note(name: str, x: torch.Tensor) -> None:
        if x.requires_grad:
            found.add(name)

    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_pre_hook(lambda _, inputs, name=name: note(name, *inputs))
    network.eval()(x)
    return found


@pytest.mark.parametrize("which", ["residual", "mobilenet"])
def test_work_is_what_torch_would_compute(which: str, network: Residual) -> None:
    model, side = (network, 16) if which == "residual" else (sparsebp.models.mobilenet_v2(10).eval(), 72)
    x = torch.randn(2, 3, side, side)
    plan = sparsebp.plan(model, "64KB" if which == "residual" else "512KB", input_size=(3, side, side), batch_size=2)
    products = layer_products(model, x)
    trained = [layer.name for layer in plan.layers]
    needed = layers_with_an_input_grad(model, trained, x)
    found = count_operations(model, graphs.build(model, (3, side, side)), plan)
    assert found.forward == sum(products.values())
    assert found.input_grad == sum(products[name] for name in needed)
    shares = {layer.name: layer.weights / layer.total_weights for layer in plan.layers}
    assert found.weight_grad == pytest.approx(sum(products[name] * share for name, share in shares.items()))
    assert found.operations == 2 * (found.forward + found.input_grad + found.weight_grad)
    sizes = {name: model.get_submodule(name).weight.numel() for name in products}
    backward = sum(sizes[name] if name in needed else sizes[name] * shares.get(name, 0) for name in products)
    assert found.moved == 4 * (sum(sizes.values()) + backward + x.numel())


@pytest.mark.parametrize(("side", "first", "gflop"), [(224, 14, 0.757), (128, 7, 0.314)])
def test_work_beside_the_design(side: int, first: int, gflop: float) -> None:
    """Section 5 of the design counts a step by hand, without the weight gradients of the update sets."""
    model = sparsebp.models.mobilenet_v2(10)
    frozen = {f"features.{i}.*": 0.0 for i in range(first)}
    plan = sparsebp.plan(model, "256KB", input_size=(3, side, side), max_update_ratio=0.02, ratios=frozen)
    assert plan.layers[0].name == f"features.{first}.conv.0.0"
    found = count_operations(model, graphs.build(model, (3, side, side)), plan)
    assert 2 * (found.forward + found.input_grad) / 1e9 == pytest.approx(gflop, abs=5e-4)
    assert 0 < found.weight_grad < 0.03 * found.forward


def test_rates_are_medians_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Rates.of([Sample(2.0 * i, 3.0 * i, 10.0 * i) for i in (1, 2, 9)])
    assert (found.sgemm.median, found.peak.median, found.copy.median) == (4, 6, 20)
    monkeypatch.setattr(rates, "COPIED_BYTES", 1 << 16)
    monkeypatch.setattr(rates, "SGEMM_SIDE", 16)
    monkeypatch.setattr(_C, "fma_peak", lambda: 123.0)
    sample = Yardsticks().sample()
    assert sample.fma == 123
    assert sample.copy > 0 < sample.sgemm


def test_the_peak_of_registers_is_measured() -> None:
    assert _C.fma_peak() > 0


def test_the_floor() -> None:
    half = Quartiles.of([50.0])
    floor = LowerBound(
        OperationCount(300_000_000, 150_000_000, 50_000_000, 20_000_000), Rates(half, Quartiles.of([200.0]), half), 40.0
    )
    assert (floor.gflop, floor.gflops) == (1.0, 25.0)
    assert (floor.sgemm_ms, floor.sgemm_share, floor.peak_share) == (20.0, 0.5, 0.125)
    assert floor.copy_ms == 0.4
