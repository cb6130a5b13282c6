"""What the benchmark compares with: the same function, trained from where it says."""

from __future__ import annotations

import copy

import pytest
import torch
from sparsebp import graph as graphs
from sparsebp.benchmark.contenders import TorchModel, first_op, partial
from sparsebp.benchmark.steps import StepRequest, measure
from sparsebp.benchmark.timing import LEAST_ROUNDS, WARM_UP_ROUNDS, Contender, interleave, medians
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
    request = StepRequest(16, 16, batch=2, budget=1 << 20, max_update_ratio=0.3, rounds=1, cuts=("last",))
    case = measure(network, request)
    names = [r.contender for r in case.results]
    assert names[:3] == ["sparsebp", "dense", "partial last"]
    ours, dense, last = case.results[:3]
    assert ours.arena > 0 == dense.arena
    assert dense.outside > last.outside > 0
    assert case.ratio(ours) == 1


def test_an_output_that_is_no_classification_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    with pytest.raises(ValueError, match=r"expected an output \[1, classes\] for a batch of 1, got \[1, 4, 12, 12\]"):
        measure(network, StepRequest(16, 16, budget=1 << 20, max_update_ratio=1))


def test_rounds_are_interleaved_and_end_after_a_while() -> None:
    runs: list[str] = []
    contenders = {name: Contender(lambda _, name=name: runs.append(name)) for name in "ab"}
    times = interleave(contenders, rounds=100, seconds=0)
    assert {name: len(t) for name, t in times.items()} == {"a": LEAST_ROUNDS, "b": LEAST_ROUNDS}
    assert len(runs) == 2 * (WARM_UP_ROUNDS + LEAST_ROUNDS)
    assert all({*runs[i : i + 2]} == {"a", "b"} for i in range(0, len(runs), 2))
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}
