"""The promise: training uses the bytes that the plan predicted, to the byte, and never more than the budget."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import sparsebp
import torch
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from networks import batch, residual_network, tiny_mobilenet
from random_networks import random_network
from sparsebp import BudgetExceeded, SparseModel, devices
from sparsebp.planning.lowering import SpecFactory
from sparsebp.planning.plan_parts import CATEGORIES
from torch import nn
from torch.nn.functional import cross_entropy
from training import (
    BUDGET,
    LARGE,
    SIZE,
    assert_same,
    assert_trains,
    converted,
    everything,
    one_thread,  # noqa: F401
    persistent,
    step,
)


def repeatable(examples: int) -> settings:
    return settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


#: A network, settings for it, and a budget as a multiple of the smallest.
Case = tuple[nn.Module, dict[str, Any], float]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = random.Random(draw(st.integers(0, 2**31 - 1)))
    if draw(st.sampled_from(["random", "random", "mobilenet"])) == "random":
        net, size = random_network(rng)
    else:
        net, size = narrow_mobilenet(rng), (3, rng.choice([24, 32, 40]), 32)
    layers = [n for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    explicit = rng.sample(layers, draw(st.sampled_from([0, 0, 1, len(layers) // 2])))
    options = {
        "input_size": size,
        "batch_size": draw(st.integers(1, 3)),
        "sampler": draw(st.sampled_from(list(sparsebp.samplers.NAMES))),
        "momentum": draw(st.booleans()),
        "gradients": draw(st.sampled_from(["in_place", "in_place", "sum"])),
        "train_bias": draw(st.booleans()),
        "max_update_ratio": draw(st.sampled_from([None, None, 0.5, 0.2, 0.05])),
        "ratios": {n: rng.choice([0, 0.1, 0.3, 0.5, 1]) for n in explicit},
        "seed": rng.getrandbits(31),
    }
    return net, options, draw(st.one_of(st.just(1.0), st.floats(1, 4), st.floats(1, 60)))


def narrow_mobilenet(rng: random.Random) -> nn.Module:
    stages = [(1, 16, 1, 1), (4, 24, 2, 2), (6, 64, 2, 2), (6, 160, 2, rng.choice([1, 2]))]
    torch.manual_seed(rng.getrandbits(31))
    width = rng.choice([0.05, 0.1, 0.2])
    return sparsebp.models.mobilenet_v2(5, width, inverted_residual_setting=stages, last_channel=40)


def smallest(net: nn.Module, options: dict[str, Any]) -> int:
    """The smallest budget; ends the example if its ratios contradict each other."""
    try:
        return sparsebp.min_budget(net, **options)
    except ValueError as error:
        if not str(error).startswith(("max_update_ratio: expected at least", "ratios: they freeze every")):
            raise
        reject()


def changed_channels(module: nn.Module, before: torch.Tensor) -> set[int]:
    """Input channels of a layer whose weights differ from ``before``."""
    moved = module.weight.detach() != before
    if not isinstance(module, nn.Conv2d):
        return set(moved.any(0).nonzero().flatten().tolist())
    per_group = module.in_channels // module.groups
    moved = moved.view(module.groups, -1, per_group, moved[0, 0].numel()).any(3).any(1)
    return {int(g) * per_group + int(c) for g, c in moved.nonzero()}


def assert_report_adds_up(model: SparseModel) -> None:
    """The report by layer and the list of buffers are two views of the same bytes."""
    plan = model.plan
    assert plan.weights_per_step == sum(layer.weights for layer in plan if layer.kind != "linear")
    assert max(b.offset + b.bytes for b in plan.buffers) == plan.peak_bytes <= plan.budget
    span = [layer for op in model._graph.ops[plan.choice.begin :] for layer in op.layers]
    for category in CATEGORIES:
        # Activations and dropouts that stand for themselves belong to no layer.
        buffers = [b.bytes for b in plan.buffers if b.category == category and not (b.role == "mask" and b.layer < 0)]
        by_layer = sum(layer.bytes[category] for layer in plan)
        assert by_layer <= sum(buffers), category
        if category not in ("scratch", "gradients") and len(span) == len(plan.layers):
            assert by_layer == sum(buffers), category


@repeatable(210)
@given(case=cases())
def test_what_was_planned_is_what_is_measured(case: Case) -> None:
    net, options, factor = case
    budget = int(smallest(net, options) * factor)
    plan = sparsebp.plan(net, budget, **options)
    model = sparsebp.convert(net, budget, **options).train()
    assert model.plan == plan
    assert model.plan.to_json() == plan.to_json()
    assert any(layer.kind != "linear" for layer in plan)
    assert_report_adds_up(model)
    cap = options["max_update_ratio"]
    assert cap is None or plan.weights_per_step <= cap * plan.conv_weights
    for name, ratio in options["ratios"].items():
        channels = [layer.selected / layer.channels for layer in plan if layer.name == name]
        assert channels == [] if ratio == 0 else abs(channels[0] - ratio) <= 1 / plan[name].channels

    numbers = {"momentum": 0.9 if options["momentum"] else 0.0, "weight_decay": 0.01}
    opt = sparsebp.optim.SGD(model, lr=0.05, **numbers)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    for seed in range(2):
        step(model, opt, seed=seed)
        chosen = {layer.name: set(model.update_set(layer.name).tolist()) for layer in plan}
        for name, module in net.named_modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                assert changed_channels(module, before[f"{name}.weight"]) <= chosen.get(name, set())
        assert model.arena.peak == plan.peak_bytes
        assert model.workspace.peak == plan.inference_bytes
        assert model.arena.capacity == budget
        assert model.arena.used == sum(count for _, count in persistent(model))
        before = {n: p.detach().clone() for n, p in net.named_parameters()}
    held = model.arena.held_peak
    assert {c: held[c] for c in CATEGORIES} == plan.peak_by_category()
    event("sums" if plan.gradient_sums else "in place")
    event("whole network" if plan.choice.begin == 0 else "frozen prefix")


@repeatable(40)
@given(case=cases())
def test_one_byte_less_than_the_smallest_budget_is_refused_and_changes_nothing(case: Case) -> None:
    net, options, _ = case
    required = smallest(net, options)
    if required == 1:
        reject()
    net.train()
    before = everything(net)
    memory = {n: (p.data_ptr(), p.stride(), p._version) for n, p in net.named_parameters()}
    for refuse in (sparsebp.convert, sparsebp.plan):
        with pytest.raises(BudgetExceeded, match=f"smallest budget that works is {required:,} bytes") as caught:
            refuse(net, required - 1, **options)
        assert (caught.value.required, caught.value.budget) == (required, required - 1)
        assert_same(everything(net), before)
        assert {n: (p.data_ptr(), p.stride(), p._version) for n, p in net.named_parameters()} == memory
    model = sparsebp.convert(net, required, **options).train()
    assert model.plan.peak_bytes <= required == model.arena.capacity
    opt = sparsebp.optim.SGD(model, lr=0.05)
    step(model, opt)
    assert any(not torch.equal(p, before[f"value of {n}"]) for n, p in model.named_parameters())


def test_the_smallest_budget_trains_a_convolution() -> None:
    for make, size in ((tiny_mobilenet, SIZE), (residual_network, (3, 20, 20))):
        net = make()
        model = sparsebp.convert(net, sparsebp.min_budget(net, input_size=size), input_size=size).train()
        assert_trains(model, sparsebp.optim.SGD(model, lr=0.05))
        assert any(layer.kind != "linear" for layer in model.plan)


def test_the_refusal_is_a_memory_error_that_survives_pickling() -> None:
    with pytest.raises(MemoryError) as caught:
        sparsebp.plan(tiny_mobilenet(), 1, input_size=SIZE)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert type(copied) is BudgetExceeded
    assert (str(copied), copied.required, copied.budget) == (str(caught.value), caught.value.required, 1)


def test_an_arena_that_is_too_small_is_refused_by_the_program_itself() -> None:
    """Whatever a planner says: the native side checks again."""
    model = converted()
    spec = SpecFactory(model._graph, model.original).make(model.plan.choice)
    program = sparsebp._C.Program(spec)
    needed = model.plan.peak_bytes
    assert program.training_peak == needed
    with pytest.raises(BudgetExceeded, match=f"needs {needed} bytes") as caught:
        program.allocate(needed - 1)
    assert (caught.value.required, caught.value.budget) == (needed, needed - 1)
    program.allocate(needed)
    assert program.arena.capacity == needed


# -- what is written, and where -------------------------------------------------------------------

POISONED: dict[str, tuple[Callable[[], nn.Module], int | None, dict[str, Any]]] = {
    "in place": (tiny_mobilenet, BUDGET, {}),
    "sums and momentum": (tiny_mobilenet, LARGE, {"momentum": True, "batch_size": 2}),
    "scores": (tiny_mobilenet, 24 * 1024, {"sampler": "importance"}),
    "top-k": (residual_network, 48 * 1024, {"sampler": "top-k", "batch_size": 2}),
    "dropout": (lambda: tiny_mobilenet(dropout=0.5), BUDGET, {"momentum": True}),
    "no biases": (residual_network, 24 * 1024, {"train_bias": False}),
    "smallest": (tiny_mobilenet, None, {}),
}


def poison(model: SparseModel, pattern: int) -> None:
    """Fills arena and workspace, but for what a step finds there from the one before."""
    memory = bytes_of(model, "arena")
    kept = [(offset, memory[offset : offset + count].clone()) for offset, count in persistent(model)]
    memory.fill_(pattern)
    for offset, data in kept:
        memory[offset : offset + len(data)] = data
    bytes_of(model, "workspace").fill_(pattern)


def bytes_of(model: SparseModel, name: str) -> torch.Tensor:
    """The memory of arena or workspace."""
    arena = getattr(model, name)
    return devices.memory_view(arena, arena.address, arena.capacity, torch.uint8, model.engine.device)


@pytest.mark.parametrize("case", POISONED.values(), ids=POISONED.keys())
def test_every_planned_byte_is_written_and_no_other(case: tuple[Any, int | None, dict[str, Any]]) -> None:
    """Both patterns are NaNs as floats, and the result does not depend on them: nothing is read unwritten."""
    make, budget, options = case
    budget = budget or sparsebp.min_budget(make(), input_size=SIZE)
    patterns = (0xFF, 0x7F)
    models = []
    for pattern in patterns:
        model = sparsebp.convert(make(), budget, input_size=SIZE, **options).train()
        opt = sparsebp.optim.SGD(model, lr=0.05, momentum=0.9 if options.get("momentum") else 0.0)
        poison(model, pattern)
        step(model, opt)
        models.append(model)
    assert_same(everything(models[0]), everything(models[1]))
    program = models[0].engine.program
    for arena, buffers in (("arena", program.training_buffers()), ("workspace", program.workspace_buffers())):
        first, second = (bytes_of(m, arena) for m in models)
        seen = (first != patterns[0]) | (second != patterns[1])  # written in at least one of two equal runs
        planned = torch.zeros_like(seen)
        for buffer in buffers:
            planned[buffer["offset"] : buffer["offset"] + buffer["bytes"]] = True
        for offset, count in persistent(models[0]) if arena == "arena" else []:
            seen[offset : offset + count] = True  # written once, when the arena was made
        assert not (seen & ~planned).any(), f"{arena}: a byte outside every buffer was written"
        assert not (planned & ~seen).any(), f"{arena}: a planned byte was never written"
        assert int(planned.nonzero().max()) + 1 == getattr(models[0], arena).peak


def test_an_optimizer_and_more_steps_need_no_more_bytes() -> None:
    model = converted(momentum=True, sampler="cyclic", resample_every=2)
    opt = sparsebp.optim.SGD(model, lr=0.05, momentum=0.9)
    for seed in range(5):
        step(model, opt, seed=seed)
        sparsebp.fit_step(model, opt, *batch(SIZE, 3, seed=seed), cross_entropy)
        model.eval()(batch(SIZE, 5)[0])
        model.train()
        assert model.arena.peak == model.plan.peak_bytes
        assert model.workspace.peak == model.plan.inference_bytes
