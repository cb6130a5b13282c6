"""Checkpoints and copies: nothing is lost, and nothing but the original's keys is in the file."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import sparsebp
import torch
from networks import batch, relative_error
from saved_networks import State, assert_equal, go_on, make, networks, original, output, trained, with_dropout
from sparsebp import SparseModel
from torch import nn
from torch.nn.functional import cross_entropy
from training import assert_same, everything, step

# -- state dicts ---------------------------------------------------------------------------------


@networks
def test_a_state_dict_is_the_original_s(kind: str) -> None:
    """Keys in their order, shapes, types and, before training, every bit."""
    assert_equal(make(kind).state_dict(), original(kind).state_dict())


@networks
def test_training_changes_values_only(kind: str) -> None:
    before, after = original(kind).state_dict(), trained(kind).state_dict()
    assert {n: (t.shape, t.dtype) for n, t in after.items()} == {n: (t.shape, t.dtype) for n, t in before.items()}
    assert any(not torch.equal(after[n], before[n]) for n in before)


def as_it_is(state: State, folder: Path) -> State:
    return state


def through_torch(state: State, folder: Path) -> State:
    torch.save(state, folder / "weights.pt")
    return torch.load(folder / "weights.pt", weights_only=True)


def through_safetensors(state: State, folder: Path) -> State:
    contiguous = {n: t.contiguous() for n, t in state.items()}
    safetensors.torch.save_file(contiguous, folder / "weights.safetensors")
    return safetensors.torch.load_file(folder / "weights.safetensors")


ways = pytest.mark.parametrize("way", [as_it_is, through_torch, through_safetensors])


@ways
@networks
def test_trained_weights_load_into_the_original(kind: str, way: Callable[[State, Path], State], tmp_path: Path) -> None:
    model = trained(kind)
    plain = original(kind, seed=1)
    plain.load_state_dict(way(model.state_dict(), tmp_path))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert relative_error(output(model, kind), output(plain, kind)) < 1e-5


@pytest.mark.parametrize("assign", [False, True])
@ways
@networks
def test_the_original_s_checkpoint_loads_into_a_converted_model_which_trains_from_there(
    kind: str, way: Callable[[State, Path], State], assign: bool, tmp_path: Path
) -> None:
    """It goes on exactly as a model that was converted with these weights."""
    plain = original(kind, seed=1)
    model, twin = make(kind, seed=0), make(kind, seed=1)
    model.load_state_dict(way(plain.state_dict(), tmp_path), assign=assign)
    assert relative_error(output(model, kind), output(plain, kind)) < 1e-5
    opts = [sparsebp.optim.SGD(m, lr=0.01) for m in (model, twin)]
    for i in range(4):
        assert step(model, opts[0], seed=i) == step(twin, opts[1], seed=i)
    assert_equal(model.state_dict(), twin.state_dict())


def test_a_checkpoint_of_another_network_is_refused_by_name() -> None:
    model = make("inverted residuals")
    before = everything(model)
    with pytest.raises(RuntimeError, match=r"classifier\.1\.weight"):
        model.load_state_dict({n: t for n, t in model.state_dict().items() if n != "classifier.1.weight"})
    assert_same(everything(model), before)


# -- copies of the whole model -------------------------------------------------------------------


def pickled(model: SparseModel) -> SparseModel:
    return pickle.loads(pickle.dumps(model))


def saved(model: SparseModel) -> SparseModel:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


copies = pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled, saved])

#: What a copy has to take along besides the weights.
STATES = {
    "random sets": {},
    "a set that stays": {"resample_every": 3},
    "momentum": {"momentum": True, "resample_every": 3},
    "running norms": {"sampler": "importance"},
    "rounds": {"sampler": "cyclic", "seed": 5},
    "a sampler of its own": {"sampler": sparsebp.samplers.TopK(3)},
}


@pytest.mark.parametrize("state", STATES)
@copies
def test_a_copy_goes_on_to_the_bit_as_its_source(duplicate: Callable[[SparseModel], SparseModel], state: str) -> None:
    """In the middle of training: update sets, visits, momentum, norms, dropout and counters come along."""
    model = make("inverted residuals", **STATES[state])
    go_on(model, 4)
    twin = duplicate(model)
    assert_equal(twin.state_dict(), model.state_dict())
    assert twin.engine.state() == model.engine.state()
    assert go_on(twin) == go_on(model)
    assert_same(everything(twin), everything(model))
    assert twin.coverage() == model.coverage()


@copies
@networks
def test_a_copy_and_its_source_are_independent(kind: str, duplicate: Callable[[SparseModel], SparseModel]) -> None:
    model = trained(kind)
    twin = duplicate(model)
    assert twin.plan == model.plan
    before = everything(model)
    go_on(twin)
    assert_same(everything(model), before)
    before = everything(twin)
    go_on(model)
    assert_same(everything(twin), before)


@copies
def test_a_copy_takes_pending_gradient_sums_along(duplicate: Callable[[SparseModel], SparseModel]) -> None:
    model = trained("residual network", gradients="sum")
    assert model.plan.gradient_sums
    opt = sparsebp.optim.SGD(model, lr=0.01)
    x, y = batch((3, 20, 16), 1)
    cross_entropy(model(x), y).backward()
    twin = duplicate(model)
    before = {n: t.clone() for n, t in twin.state_dict().items()}
    sparsebp.optim.SGD(twin, lr=0.01).step()
    opt.step()
    assert_equal(twin.state_dict(), model.state_dict())
    assert any(not torch.equal(t, before[n]) for n, t in twin.state_dict().items())


@copies
def test_a_copy_between_forward_and_backward_disturbs_neither(
    duplicate: Callable[[SparseModel], SparseModel],
) -> None:
    model, expected = trained("inverted residuals"), trained("inverted residuals")
    opt = sparsebp.optim.SGD(model, lr=0.01)
    x, y = batch((3, 16, 16), 1, seed=9)
    loss = cross_entropy(model(x), y)
    twin = duplicate(model)
    go_on(twin)
    loss.backward()
    opt.step()
    opt.zero_grad()
    step(expected, sparsebp.optim.SGD(expected, lr=0.01), seed=9)
    assert_equal(model.state_dict(), expected.state_dict())


# -- modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_convert_copies_and_restore_keep_the_mode(training: bool) -> None:
    model = sparsebp.convert(with_dropout().train(training), 16 * 1024, input_size=(3, 16, 16))
    assert model.training is training
    for duplicate in (copy.deepcopy, pickled, saved):
        assert duplicate(model).training is training
    plain = sparsebp.restore(model)
    assert all(m.training is training for m in plain.modules())


def test_batch_norms_stay_frozen_in_training_mode() -> None:
    model = make("residual network")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(m.running_mean.clone(), m.running_var.clone(), m.weight.clone()) for m in norms]
    go_on(model)
    assert not any(m.training for m in norms)
    for norm, kept in zip(norms, before, strict=True):
        now = (norm.running_mean, norm.running_var, norm.weight)
        assert all(torch.equal(a, b) for a, b in zip(now, kept, strict=True))


def test_modes_of_the_submodules_follow() -> None:
    model = make("inverted residuals")
    model.eval()
    assert not any(m.training for m in model.modules())
    model.train()
    assert model.classifier[0].training
