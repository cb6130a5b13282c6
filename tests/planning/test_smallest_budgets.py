"""The table of smallest budgets: every number in it holds, and is the smallest that does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sparsebp
import torch
from networks import mobilenet
from sparsebp import BudgetExceeded, SparseModel
from torch import nn
from training import one_thread, step  # noqa: F401

PAGE = Path(__file__).parents[2] / "docs" / "memory.md"
HEADING = "| input | smallest budget, bytes | span of 256 KB | layers | peak, bytes |"
SIZES = (96, 128, 160, 192, 224)

BUDGET = "256KB"
RATIO = 0.02


@dataclass(frozen=True)
class Row:
    """One line of the table; ``begin`` is the block with which the span begins."""

    smallest: int
    begin: str
    layers: int
    peak: int


def read_table() -> dict[int, Row]:
    """The table by image size."""
    lines = PAGE.read_text().splitlines()
    assert HEADING in lines, f"{PAGE} has no table with the heading {HEADING}"
    found = {}
    for line in lines[lines.index(HEADING) + 2 :]:
        if not line.startswith("|"):
            break
        match = re.fullmatch(r"\| (\d+) \| ([\d,]+) \| `([\w.]+)` \| (\d+) \| ([\d,]+) \|", line)
        assert match is not None, f"not a row of that table: {line}"
        size, smallest, begin, layers, peak = (part.replace(",", "") for part in match.groups())
        found[int(size)] = Row(int(smallest), begin, int(layers), int(peak))
    return found


@pytest.fixture
def net() -> nn.Module:
    """A fresh one for every test: training at random may leave a layer without a gradient."""
    return mobilenet(classes=10)


@pytest.fixture(params=SIZES, ids=lambda size: f"{size} px")
def size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def row(size: int) -> Row:
    return read_table()[size]


@contextmanager
def converted(net: nn.Module, budget: int | str, size: int, ratio: float | None = None) -> Iterator[SparseModel]:
    """A model in training mode; the network is restored afterwards."""
    model = sparsebp.convert(net, budget, input_size=(3, size, size), max_update_ratio=ratio).train()
    try:
        yield model
    finally:
        sparsebp.restore(model)


def assert_a_step_trains_and_measures(model: SparseModel, peak: int) -> None:
    """The loss is a number, every planned layer changes, and the arena's mark is the plan's and ``peak``."""
    weights = dict(model.named_parameters())
    before = {name: weights[name].detach().clone() for name in (f"{layer.name}.weight" for layer in model.plan)}
    loss = step(model, sparsebp.optim.SGD(model, lr=0.1))
    assert math.isfinite(loss)
    for name, old in before.items():
        assert torch.isfinite(weights[name]).all(), name
        assert not torch.equal(weights[name], old), f"{name} did not train"
    assert model.arena.peak == model.plan.peak_bytes == peak


def test_the_table_has_five_rows() -> None:
    assert tuple(read_table()) == SIZES


def test_the_smallest_budget_trains(net: nn.Module, size: int, row: Row) -> None:
    assert sparsebp.min_budget(net, input_size=(3, size, size)) == row.smallest
    with converted(net, row.smallest, size) as model:
        assert any(layer.kind != "linear" for layer in model.plan)
        assert model.arena.capacity == row.smallest
        assert_a_step_trains_and_measures(model, row.smallest)


def test_one_byte_less_is_refused(net: nn.Module, size: int, row: Row) -> None:
    with pytest.raises(BudgetExceeded) as caught:
        sparsebp.convert(net, row.smallest - 1, input_size=(3, size, size))
    assert (caught.value.required, caught.value.budget) == (row.smallest, row.smallest - 1)


def test_a_quarter_megabyte_trains_that_span(net: nn.Module, size: int, row: Row) -> None:
    plan = sparsebp.plan(net, BUDGET, input_size=(3, size, size), max_update_ratio=RATIO)
    assert plan.layers[0].name.startswith(f"{row.begin}.")
    assert len(plan.layers) == row.layers
    assert plan.peak_bytes == row.peak <= 256 * 1024
    assert plan.update_ratio <= RATIO
    with converted(net, BUDGET, size, RATIO) as model:
        assert model.plan == plan
        assert_a_step_trains_and_measures(model, row.peak)


def test_no_layer_of_a_span_that_widens_is_left_out(net: nn.Module, size: int, row: Row) -> None:
    """From its first block to the classifier, each of them trains at least one channel."""
    plan = sparsebp.plan(net, BUDGET, input_size=(3, size, size), max_update_ratio=RATIO)
    names = [name for name, module in net.named_modules() if widens(module) or isinstance(module, nn.Linear)]
    begin = next(i for i, name in enumerate(names) if name.startswith(f"{row.begin}."))
    assert [layer.name for layer in plan] == names[begin:]
    assert all(layer.selected >= 1 for layer in plan)


def widens(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.out_channels > module.in_channels


def test_at_128_pixels_the_span_begins_at_block_7_or_before() -> None:
    block = re.fullmatch(r"features\.(\d+)", read_table()[128].begin)
    assert block is not None
    assert int(block[1]) <= 7
