"""Where the budget covers the whole step, everything lies in it, and training is what it is with any other plan."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import Any

import sparsebp
import torch
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from networks import batch, residual_network, seeded
from random_networks import random_network
from sparsebp import SparseModel
from sparsebp.planning.layouts import Layouts
from sparsebp.planning.pieces import Pieces
from sparsebp.planning.plan import Plan
from sparsebp.training.convert import read
from torch import nn
from torch.nn.functional import cross_entropy
from training import SIZE, assert_same, everything, one_thread, step  # noqa: F401


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


def check_case(case: Case) -> None:
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
    event(f"{len(plan.choice.pieces.streams)} streams")


@repeatable(40)
@given(case=cases())
def test_a_whole_step_inside_the_budget_trains_as_any_other_to_the_bit(case: Case) -> None:
    check_case(case)
