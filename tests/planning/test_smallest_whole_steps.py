"""The table of docs/whole-step.md: every budget in it holds a whole step, and one byte less is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import sparsebp
from networks import batch
from sparsebp import BudgetExceeded
from torch.nn.functional import cross_entropy
from training import one_thread  # noqa: F401

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "bench"))
from whole_step import CLASSES, NETWORKS, SIZES  # noqa: E402

HEADING = "| network | input | picture | whole step | without the picture | training alone |"

#: Every row, and without the picture the smallest of each network.
CASES = [
    *((name, size, "arena") for name in NETWORKS for size in SIZES),
    *((name, min(SIZES), "elsewhere") for name in NETWORKS),
]


def rows() -> dict[tuple[str, int], list[int]]:
    """The numbers by network and size."""
    lines = (ROOT / "docs" / "whole-step.md").read_text().splitlines()
    found = {}
    for line in lines[lines.index(HEADING) + 2 :]:
        if not line.startswith("|"):
            break
        name, size, *numbers = (cell.strip().replace(",", "") for cell in line.strip("|").split("|"))
        found[name, int(size)] = [int(number) for number in numbers]
    return found


def test_the_table_has_every_network_at_every_size() -> None:
    assert list(rows()) == [(name, size) for name in NETWORKS for size in SIZES]


@pytest.mark.parametrize(("name", "size", "pictures"), CASES)
def test_it_is_the_smallest_budget_and_holds_a_step(name: str, size: int, pictures: str) -> None:
    picture, whole, without, _ = rows()[name, size]
    assert picture == 3 * size * size
    budget = whole if pictures == "arena" else without
    settings = {"input_size": (3, size, size), "scope": "step", "pictures": pictures}
    with pytest.raises(BudgetExceeded) as refused:
        sparsebp.convert(NETWORKS[name](), budget - 1, **settings)
    assert refused.value.required == budget
    model = sparsebp.convert(NETWORKS[name](), budget, **settings).train()
    opt = sparsebp.optim.SGD(model, lr=0.01)
    x, y = batch((3, size, size), 1, CLASSES)
    cross_entropy(model(x), y).backward()
    opt.step()
    assert model.arena.peak == model.plan.peak_bytes <= budget
    assert model.workspace.peak == 0
