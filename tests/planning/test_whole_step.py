"""Where the budget covers the whole step, everything lies in it, and training is what it is with any other plan."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sparsebp
import torch
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from networks import Residual, batch, conv_norm, residual_network, seeded, tiny_mobilenet
from random_networks import random_network
from sparsebp import BudgetExceeded, SparseModel, devices
from sparsebp.planning.layouts import Layouts
from sparsebp.planning.pieces import Pieces
from sparsebp.planning.plan import Plan
from sparsebp.training.convert import read
from torch import nn
from torch.nn.functional import cross_entropy
from training import assert_same, everything, one_thread, persistent, sgd, step  # noqa: F401


def repeatable(examples: int) -> settings:
    return settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


#: A network, settings for it, and a budget as a multiple of the smallest.
Case = tuple[nn.Module, dict[str, Any], float]


def mobilenet_of(rng: random.Random, classes: int = 5) -> nn.Module:
    """A MobileNetV2 of some width, of whose stages the later are left out."""
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)][: rng.randint(2, 5)]
    width, last = rng.choice([0.35, 0.5, 0.75, 1.0]), rng.choice([32, 200])
    return seeded(
        rng.getrandbits(31),
        lambda: sparsebp.models.mobilenet_v2(classes, width, inverted_residual_setting=stages, last_channel=last),
    )


@st.composite
def cases(draw: st.DrawFn, most_pixels: int = 48) -> Case:
    rng = random.Random(draw(st.integers(0, 2**31 - 1)))
    kind = draw(st.sampled_from(["random", "mobilenet", "mobilenet", "residual"]))
    if kind == "random":
        net, size = random_network(rng)
    elif kind == "mobilenet":
        net, size = mobilenet_of(rng), (3, rng.randint(32, most_pixels), rng.randint(32, most_pixels))
    else:
        net, size = residual_network(rng.getrandbits(31)), (3, rng.randint(16, 40), rng.randint(16, 40))
    options = {
        "input_size": size,
        "batch_size": draw(st.integers(1, 3)),
        "sampler": draw(st.sampled_from(list(sparsebp.samplers.NAMES))),
        "momentum": draw(st.booleans()),
        "normalise": draw(st.booleans()),
        "gradients": draw(st.sampled_from(["in_place", "in_place", "sum"])),
        "train_bias": draw(st.booleans()),
        "max_update_ratio": draw(st.sampled_from([None, None, 0.5, 0.2])),
        "pictures": draw(st.sampled_from(["arena", "elsewhere"])),
        "seed": rng.getrandbits(31),
    }
    return net, options, draw(st.one_of(st.just(1.0), st.floats(1, 2)))


def smallest(net: nn.Module, options: dict[str, Any]) -> int:
    """The smallest budget of a whole step; ends the example where a ratio is too small for every span."""
    try:
        return sparsebp.min_budget(net, scope="step", **options)
    except ValueError as error:
        if not str(error).startswith("max_update_ratio: expected at least"):
            raise
        reject()


def the_usual_way(net: nn.Module, plan: Plan) -> SparseModel:
    """The same layers, channels and channel blocks, in a program that has a workspace and makes every value whole."""
    choice = replace(plan.choice, scope="training", pictures=False, pieces=Pieces())
    request = replace(plan.request, scope="training", pictures="arena")
    usual = Layouts(read(net, plan.input_size), net, request).plan(choice, 2**28)
    return sparsebp.convert(net, plan=usual)


def taken_steps(model: SparseModel, steps: int) -> list[torch.Tensor]:
    """Outputs and losses of some steps, of which the second has fewer images, and of inference in between."""
    size, images = model.plan.input_size, model.plan.batch_size
    numbers = {"momentum": 0.9 if model.plan.momentum else 0.0, "normalise": model.plan.normalise}
    opt = sparsebp.optim.SGD(model.train(), lr=0.05, weight_decay=0.01, **numbers)
    seen = []
    for i in range(steps):
        x, y = batch(size, max(1, images - i % 2), 5, seed=i)
        out = model(x)
        loss = cross_entropy(out, y)
        loss.backward()
        opt.step()
        opt.zero_grad()
        with torch.no_grad():
            seen += [out.detach().clone(), loss.detach(), model.eval()(x).clone()]
        model.train()
    x, y = batch(size, 2 * images + 1, 5, seed=steps)
    seen.append(torch.tensor(sparsebp.fit_step(model, opt, x, y, cross_entropy)))
    return seen


def check_case(case: Case) -> Plan:
    """Trains both ways and compares; the plan of the whole step."""
    net, options, factor = case
    twin = copy.deepcopy(net)
    budget = int(smallest(net, options) * factor)
    model = sparsebp.convert(net, budget, scope="step", **options)
    plan = model.plan
    usual = the_usual_way(twin, plan)
    assert usual.workspace.capacity > 0 == model.workspace.capacity

    for own, other in zip(taken_steps(model, 2), taken_steps(usual, 2), strict=True):
        assert torch.equal(own, other)
    assert_same(everything(model), everything(usual))
    assert model.arena.peak == plan.peak_bytes <= budget == model.arena.capacity
    assert (model.workspace.peak, plan.inference_bytes) == (0, 0)
    return plan


@repeatable(40)
@given(case=cases())
def test_a_whole_step_inside_the_budget_trains_as_any_other_to_the_bit(case: Case) -> None:
    plan = check_case(case)
    event(f"{len(plan.choice.pieces.streams)} streams")


@repeatable(25)
@given(case=cases())
def test_one_byte_less_than_the_smallest_budget_is_refused(case: Case) -> None:
    net, options, _ = case
    required = smallest(net, options)
    for refuse in (sparsebp.convert, sparsebp.plan):
        with pytest.raises(BudgetExceeded, match=f"smallest budget that works is {required:,} bytes") as caught:
            refuse(net, required - 1, scope="step", **options)
        assert caught.value.required == required
    assert sparsebp.plan(net, required, scope="step", **options).peak_bytes <= required


def skipping_network(seed: int = 0) -> nn.Module:
    """The images are added to what the first two convolutions make of them."""

    def make() -> nn.Module:
        first = Residual(nn.Sequential(conv_norm(3, 8), conv_norm(8, 3, activation=None)))
        middle = nn.Sequential(conv_norm(3, 8, stride=2), nn.AvgPool2d(2), conv_norm(8, 12, 1), conv_norm(12, 16))
        return nn.Sequential(first, middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))

    return seeded(seed, make)


def far_residual_network(seed: int = 0) -> nn.Module:
    """A block adds rows of its input that its windows do not reach: four rows to four with stride 3 and padding 3."""

    def make() -> nn.Module:
        filtered = conv_norm(12, 12, 1, stride=3, padding=3, groups=12)
        block = Residual(nn.Sequential(conv_norm(6, 12, 1), filtered, conv_norm(12, 6, 1, None)), activation=False)
        stem = nn.Sequential(conv_norm(3, 8, stride=4), conv_norm(8, 6, stride=2))
        return nn.Sequential(
            stem, block, conv_norm(6, 12), conv_norm(12, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
        )

    return seeded(seed, make)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet": lambda: tiny_mobilenet(classes=5),
    "dropout": lambda: tiny_mobilenet(classes=5, dropout=0.5),
    "residual": lambda: residual_network(classes=5),
    "images with two readers": skipping_network,
    "rows that no window reaches": far_residual_network,
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("pictures", ["arena", "elsewhere"])
def test_networks_of_every_kind_of_prefix(make: Callable[[], nn.Module], pictures: str) -> None:
    options = {"input_size": (3, 32, 32), "batch_size": 2, "pictures": pictures}
    for factor in (1.0, 1.4):
        check_case((make(), options, factor))


def test_a_larger_budget_buys_pieces_that_compute_less_twice() -> None:
    net = tiny_mobilenet()
    least = sparsebp.min_budget(net, input_size=(3, 64, 64), scope="step")
    smallest, largest = (
        sparsebp.plan(net, budget, input_size=(3, 64, 64), scope="step").choice.pieces for budget in (least, 2**24)
    )
    assert set(smallest.rows.values()) | set(smallest.columns.values()) >= {1, 16}
    assert sum(largest.rows.values()) > sum(smallest.rows.values())
    assert sum(largest.columns.values()) > sum(smallest.columns.values())


# -- what is written, and where ----------------------------------------------------------------------


def memory_of(model: SparseModel) -> torch.Tensor:
    return devices.memory_view(model.arena, model.arena.address, model.arena.capacity, torch.uint8, model.engine.device)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_stream_holds_rows_that_a_residual_adds_and_no_window_reaches(rows: int) -> None:
    net = far_residual_network()
    options = {"input_size": (3, 32, 32), "scope": "step"}
    plan = sparsebp.plan(net, sparsebp.min_budget(net, **options), **options)
    pieces = replace(plan.choice.pieces, rows=dict.fromkeys(range(4), rows), streams=((0, 4),))
    layouts = Layouts(read(net, plan.input_size), net, plan.request)
    streamed = layouts.plan(replace(plan.choice, pieces=pieces), 2**20)
    model, usual = sparsebp.convert(copy.deepcopy(net), plan=streamed), the_usual_way(net, streamed)
    for own, other in zip(taken_steps(model, 2), taken_steps(usual, 2), strict=True):
        assert torch.equal(own, other)
    assert model.arena.peak == streamed.peak_bytes


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("factor", [1.0, 1.5, 4.0])
def test_every_planned_byte_of_the_block_is_written_and_no_other(make: Callable[[], nn.Module], factor: float) -> None:
    """But for bytes of pictures, which only sessions fill: a model gets numbers.

    Both patterns are NaNs as floats, and the result does not depend on them: nothing is read unwritten.
    """
    options = {"input_size": (3, 32, 32), "batch_size": 2, "scope": "step", "momentum": True}
    budget = int(sparsebp.min_budget(make(), **options) * factor)
    models, patterns = [], (0xFF, 0x7F)
    for pattern in patterns:
        model = sparsebp.convert(make(), budget, **options).train()
        memory = memory_of(model)
        kept = [(offset, memory[offset : offset + count].clone()) for offset, count in persistent(model)]
        memory.fill_(pattern)
        for offset, data in kept:
            memory[offset : offset + len(data)] = data
        step(model, sgd(model, momentum=0.9))
        models.append(model)
    assert_same(everything(models[0]), everything(models[1]))
    first, second = (memory_of(m) for m in models)
    seen = (first != patterns[0]) | (second != patterns[1])
    planned, pictures = torch.zeros_like(seen), torch.zeros_like(seen)
    for buffer in models[0].plan.buffers:
        where = pictures if buffer.role == "pictures" else planned
        where[buffer.offset : buffer.offset + buffer.bytes] = True
    for offset, count in persistent(models[0]):
        seen[offset : offset + count] = True  # written once, when the arena was made
    assert not (seen & ~planned).any(), "a byte outside every buffer was written"
    assert not (planned & ~seen).any(), "a planned byte was never written"
    assert int((planned | pictures).nonzero().max()) + 1 == models[0].plan.peak_bytes == models[0].arena.peak
