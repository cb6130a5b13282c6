"""What only a GPU shows: steps allocate nothing, nothing is leaked, and graphs train as without them."""

from __future__ import annotations

import copy
import gc
from typing import Any

import gpu
import pytest
import sparsebp
import torch
from gpu_training import SETTINGS, trained
from networks import batch, tiny_mobilenet
from sparsebp import SparseModel
from sparsebp.optim import SGD
from torch.nn.functional import cross_entropy
from training import SIZE, assert_same, everything, one_thread  # noqa: F401

pytestmark = gpu.required


@gpu.real
@pytest.mark.parametrize("budget", [16 * 1024, 1 << 20], ids=["in place", "sums"])
def test_a_step_allocates_nothing(budget: int) -> None:
    gradients = "sum" if budget == 1 << 20 else "in_place"
    model = sparsebp.convert(
        tiny_mobilenet().cuda(), budget, input_size=SIZE, batch_size=2, gradients=gradients
    ).train()
    opt = trained(model, 5)
    torch.cuda.synchronize()
    stats = ("reserved_bytes.all.current", "allocated_bytes.all.current", "segment.all.allocated")
    before = [torch.cuda.memory_stats()[s] for s in stats], torch.cuda.mem_get_info()[0]
    trained(model, 20, first=5, opt=opt)
    torch.cuda.synchronize()
    assert ([torch.cuda.memory_stats()[s] for s in stats], torch.cuda.mem_get_info()[0]) == before


@gpu.real
def test_nothing_is_leaked() -> None:
    def free_after_a_run() -> int:
        trained(sparsebp.convert(tiny_mobilenet().cuda(), 1 << 26, input_size=SIZE).train(), 1)
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    before = free_after_a_run()
    assert [free_after_a_run() for _ in range(4)][-1] >= before


@gpu.real
@pytest.mark.parametrize("case", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_graph_trains_as_without_one(case: tuple[int, dict[str, Any], dict[str, float]]) -> None:
    budget, settings, options = case
    models = [
        sparsebp.convert(tiny_mobilenet(dropout=0.5, calm=True).cuda(), budget, input_size=SIZE, **settings).train()
        for _ in "ab"
    ]
    outcomes = []
    for model in models:
        opt = SGD(model, lr=0.01, **options)
        step: Any = sparsebp.GraphedStep(model, opt, cross_entropy, warm_up=2) if model is models[0] else None
        losses = []
        for i in range(8):
            opt.param_groups[0]["lr"] = 0.01 / (1 + i)
            # Two micro-batches, and at last one that fills no micro-batch.
            images = 2 * model.plan.batch_size if i < 7 else max(1, model.plan.batch_size - 1)
            x, y = (t.cuda() for t in batch(SIZE, images, seed=i))
            losses.append(float(step(x, y) if step else sparsebp.fit_step(model, opt, x, y, cross_entropy)))
        outcomes.append((losses, everything(model)))
    assert outcomes[0][0] == pytest.approx(outcomes[1][0], rel=1e-5)
    assert_same(outcomes[0][1], outcomes[1][1])


@gpu.real
def test_a_graph_goes_on_from_state_dicts_and_after_a_pass_that_was_skipped() -> None:
    settings = {"input_size": SIZE, "momentum": True, "resample_every": 3}

    def begin() -> tuple[SparseModel, SGD, sparsebp.GraphedStep]:
        model = sparsebp.convert(tiny_mobilenet(dropout=0.5, calm=True).cuda(), 32 * 1024, **settings).train()
        opt = SGD(model, lr=0.01, momentum=0.5)
        return model, opt, sparsebp.GraphedStep(model, opt, cross_entropy, warm_up=1)

    def go_on(model: SparseModel, step: sparsebp.GraphedStep, first: int) -> list[float]:
        losses = []
        for i in range(first, first + 5):
            x, y = (t.cuda() for t in batch(SIZE, 2, seed=i))
            cross_entropy(model(x[:1]), y[:1])
            losses.append(float(step(x, y)))
        return losses

    model, opt, step = begin()
    go_on(model, step, 0)
    kept = copy.deepcopy(model.state_dict()), opt.state_dict()
    other, other_opt, other_step = begin()
    other.load_state_dict(kept[0])
    other_opt.load_state_dict(kept[1])
    assert go_on(other, other_step, 5) == pytest.approx(go_on(model, step, 5), rel=1e-5)
    assert other.engine.state() == model.engine.state()


@gpu.real
def test_a_graph_is_refused_what_it_cannot_run() -> None:
    model = sparsebp.convert(tiny_mobilenet().cuda(), 16 * 1024, input_size=SIZE).train()
    other: Any = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(TypeError, match="opt: expected the model's sparsebp"):
        sparsebp.GraphedStep(model, other, cross_entropy)
    nothing: Any = None
    with pytest.raises(TypeError, match="loss_fn: expected a function"):
        sparsebp.GraphedStep(model, SGD(model, lr=0.01), nothing)


@gpu.real
def test_a_graph_survives_new_weights_and_a_spoilt_gradient() -> None:
    model = sparsebp.convert(tiny_mobilenet().cuda(), 16 * 1024, input_size=SIZE).train()
    opt = SGD(model, lr=0.01)
    step = sparsebp.GraphedStep(model, opt, cross_entropy, warm_up=1)
    x, y = (t.cuda() for t in batch(SIZE, 1))
    for _ in range(3):
        step(x, y)
    assert step.finite
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    step(x, y)
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    step(torch.full_like(x, float("nan")), y)
    assert not step.finite
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
