"""Training on a GPU is training on the processor: the same plan to the byte, the same results within rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gpu
import pytest
import sparsebp
import torch
from gpu_training import SETTINGS, trained
from networks import batch, mobilenet, randomize_classifier, relative_error, residual_network, tiny_mobilenet
from sparsebp import DeviceMemoryError, SparseModel
from sparsebp.optim import SGD
from torch import nn
from torch.nn.functional import cross_entropy
from training import SIZE, assert_same, everything, one_thread  # noqa: F401

pytestmark = gpu.required


#: NetworkRunner that only measure, of a normalised step in place.
STILL = 16


def changes(model: nn.Module, before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What training has added to each tensor, on the processor."""
    return {k: v.detach().cpu() - before[k] for k, v in model.state_dict().items() if v.is_floating_point()}


def assert_follows(model: nn.Module, reference: nn.Module, before: dict[str, torch.Tensor], limit: float) -> None:
    """All changes are the reference's, up to ``limit`` of their common norm."""
    got, expected = changes(model, before), changes(reference, before)
    error = torch.stack([(got[k] - expected[k]).norm() for k in expected]).norm()
    size = torch.stack([d.norm() for d in expected.values()]).norm()
    assert size > 0
    assert error <= limit * size, f"off by {error / size:.1e} of what training changed"


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def pair(request: pytest.FixtureRequest) -> tuple[SparseModel, SparseModel, dict[str, Any]]:
    """A network converted on the processor, the same on the GPU, and the optimizer's options."""
    budget, settings, options = request.param
    here = tiny_mobilenet(calm=True)
    there = gpu.place(copy.deepcopy(here))
    reference = sparsebp.convert(here, budget, input_size=SIZE, **settings).train()
    with gpu.active():
        model = sparsebp.convert(there, budget, input_size=SIZE, **settings).train()
    return model, reference, options


def test_plan_draws_and_training_are_the_processors(
    pair: tuple[SparseModel, SparseModel, dict[str, Any]],
) -> None:
    model, reference, options = pair
    assert model.engine.program.isa == "cuda"
    assert model.plan == reference.plan
    before = {k: v.clone() for k, v in reference.state_dict().items()}
    steps = STILL + 4 if options.get("normalise") else 4
    trained(model, steps, **options)
    trained(reference, steps, **options)
    for layer in model.plan.layers:
        assert torch.equal(model.update_set(layer.name), reference.update_set(layer.name))
    assert model.coverage() == reference.coverage()
    assert_follows(model, reference, before, 1e-3)
    assert model.arena.peak == model.plan.peak_bytes == reference.arena.peak


def test_fifty_steps_follow_the_processor() -> None:
    # The emulation takes a minute for a step of the whole network.
    if gpu.NAME == "cuda":
        here, size, budget = randomize_classifier(mobilenet(calm=True), 1), (3, 96, 96), 256 * 1024
    else:
        here, size, budget = tiny_mobilenet(calm=True), SIZE, 16 * 1024
    there = gpu.place(copy.deepcopy(here))
    before = {k: v.clone() for k, v in here.state_dict().items()}
    reference = sparsebp.convert(here, budget, input_size=size).train()
    with gpu.active():
        model = sparsebp.convert(there, budget, input_size=size).train()
    trained(model, 50, 0.001)
    trained(reference, 50, 0.001)
    assert_follows(model, reference, before, 5e-3)


def test_a_network_of_other_ops_trains_too() -> None:
    here = residual_network()
    there = gpu.place(copy.deepcopy(here))
    before = {k: v.clone() for k, v in here.state_dict().items()}
    reference = sparsebp.convert(here, 48 * 1024, input_size=SIZE, batch_size=2).train()
    with gpu.active():
        model = sparsebp.convert(there, 48 * 1024, input_size=SIZE, batch_size=2).train()
    trained(model, 3)
    trained(reference, 3)
    assert_follows(model, reference, before, 1e-3)


def test_evaluation_takes_any_number_of_images() -> None:
    here = tiny_mobilenet()
    there = gpu.place(copy.deepcopy(here))
    x, _ = batch(SIZE, 5)
    expected = here.eval()(x).detach()
    with gpu.active():
        model = sparsebp.convert(there, 16 * 1024, input_size=SIZE, batch_size=2).eval()
    assert relative_error(model(gpu.place(x)).cpu(), expected) < 1e-5
    features = model.run_prefix(gpu.place(x))
    assert relative_error(model.run_span(features).cpu(), expected) < 1e-5


def move(model: SparseModel) -> None:
    """``.to()``, which has nothing to do where the GPU is emulated."""
    if gpu.NAME == "cuda":
        model.to("cpu" if model.engine.device.type == "cuda" else "cuda")
    else:
        model.engine._move(gpu.DEVICE)


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": True, "resample_every": 3, "normalise": True, "gradients": "sum"}], ids=str
)
def test_training_goes_on_where_the_model_is_moved(settings: dict[str, Any]) -> None:
    options = {k: 0.9 if k == "momentum" else True for k in settings if k in ("momentum", "normalise")}
    models = [sparsebp.convert(tiny_mobilenet(calm=True), 1 << 20, input_size=SIZE, **settings).train() for _ in "ab"]
    before = {k: v.clone() for k, v in models[0].state_dict().items()}
    for model in models:
        opt = trained(model, 2, **options)
        if model is models[0]:
            with gpu.active():
                move(model)
            assert model.engine.program.isa == "cuda"
        trained(model, 2, first=2, opt=opt)
        if model is models[0]:
            move(model)
            assert model.engine.program.isa != "cuda"
        trained(model, 2, first=4, opt=opt)
    assert models[0].coverage() == models[1].coverage()
    assert_follows(models[0], models[1], before, 1e-3)


def test_the_state_of_a_gpu_goes_on_on_the_processor(pair: tuple[SparseModel, SparseModel, dict[str, Any]]) -> None:
    model, reference, options = pair
    trained(model, STILL if options.get("normalise") else 2, **options)
    reference.load_state_dict(model.state_dict())
    reference.engine.load_state(model.engine.state())
    before = {k: v.clone() for k, v in reference.state_dict().items()}
    trained(model, 2, first=20, **options)
    trained(reference, 2, first=20, **options)
    assert_follows(model, reference, before, 1e-3)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    there = gpu.place(tiny_mobilenet())
    with gpu.active():
        model = sparsebp.convert(there, 16 * 1024, input_size=SIZE).train()
    opt = trained(model, 1)
    x, y = (gpu.place(t) for t in batch(SIZE, 1))
    loss = cross_entropy(model(x), y)
    before = everything(model)
    with pytest.raises(FloatingPointError, match="nothing was updated"):
        (loss * float("nan")).backward()
    assert_same(everything(model), before)
    opt.zero_grad()
    trained(model, 1, opt=opt)


def test_gradients_of_a_single_convolution_are_torchs() -> None:
    torch.manual_seed(0)
    x, conv = torch.randn(2, 12, 9, 7), nn.Conv2d(12, 20, 3, 2, 1, groups=2)
    chosen = [1, 4, 11, 6]
    leaves = [x.requires_grad_(), conv.weight, conv.bias]
    y = sparsebp.functional.sparse_conv2d_reference(*leaves, 2, 1, groups=2, channels=chosen)
    expected = torch.autograd.grad(y.square().sum(), leaves)
    placed = [gpu.place(t.detach()).requires_grad_() for t in leaves]
    with gpu.active():
        got_y = sparsebp.functional.sparse_conv2d(*placed, 2, 1, groups=2, channels=chosen)
        got = torch.autograd.grad(got_y.square().sum(), placed)
    assert relative_error(got_y.detach().cpu(), y.detach()) < 1e-5
    for a, b in zip(got, expected, strict=True):
        assert relative_error(a.cpu(), b) < 1e-5


def test_a_sparse_module_trains_in_place() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16))
    x, before = torch.randn(2, 8, 6, 6), {k: v.clone() for k, v in net.state_dict().items()}
    models = [net, gpu.place(copy.deepcopy(net))]
    for model in models:
        sparsebp.nn.replace(model, "*", 0.25)
        opt, device = SGD(model, lr=0.1), next(model.parameters()).device
        with gpu.active() if model is models[1] else torch.enable_grad():
            for _ in range(3):
                model(x.to(device)).square().mean().backward()
                opt.step()
    renamed = [{k: v for k, v in m.state_dict().items() if k in before} for m in models]
    for name, start in before.items():
        changed = renamed[0][name] - start
        assert relative_error(renamed[1][name].cpu() - start, changed) < 1e-3


def test_no_byte_outside_the_planned_buffers_is_written() -> None:
    there = gpu.place(tiny_mobilenet())
    with gpu.active():
        model = sparsebp.convert(there, 64 * 1024, input_size=SIZE, batch_size=2).train()
    arena = model.arena
    memory = sparsebp.devices.memory_view(arena, arena.address, arena.capacity, torch.uint8, model.engine.device)
    planned = torch.zeros(arena.capacity, dtype=torch.bool)
    for buffer in model.engine.program.training_buffers():
        planned[buffer["offset"] : buffer["offset"] + buffer["bytes"]] = True
    assert not planned.all()
    memory[gpu.place(~planned)] = 0xA5
    trained(model, 2)
    assert bool((memory.cpu()[~planned] == 0xA5).all())


# -- refusals -------------------------------------------------------------------------------------


def test_a_gpu_without_room_says_what_asked_for_it() -> None:
    model = gpu.place(tiny_mobilenet())
    with gpu.active(), pytest.raises(DeviceMemoryError, match=r"allocating the arena, .* bytes: CUDA: out of memory"):
        sparsebp.convert(model, 1 << 50, input_size=SIZE)


def test_float64_is_refused_where_it_was_asked_for() -> None:
    model = gpu.place(tiny_mobilenet().double())
    with gpu.active(), pytest.raises((TypeError, ValueError), match="float32"):
        sparsebp.convert(model, 64 * 1024, input_size=SIZE)


@gpu.real
@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: model(batch(SIZE, 1)[0]),
        lambda model: model.original.features[-1].cpu() and model(batch(SIZE, 1)[0].cuda()),
        lambda model: model.to("cuda:99"),
        lambda model: model.double() and model(batch(SIZE, 1)[0].cuda().double()),
    ],
    ids=["x on the processor", "half of the model moved", "no such GPU", "another dtype"],
)
def test_what_is_on_the_wrong_device_is_named(spoil: Callable[[SparseModel], Any]) -> None:
    model = sparsebp.convert(tiny_mobilenet().cuda(), 16 * 1024, input_size=SIZE).train()
    with pytest.raises((ValueError, TypeError, RuntimeError), match=r"(?i)cuda|cpu|float32"):
        spoil(model)
