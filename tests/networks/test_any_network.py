"""A small network of every family: it trains as torch does, in the bytes that the plan says, and stays what it was.

All in float64, where rounding is too small to be amplified into something visible.
"""

from __future__ import annotations

import copy
from functools import cache

import pytest
import sparsebp
import torch
from any_network import (
    NETWORKS,
    channel_mask,
    converted,
    gradients,
    groups,
    inputs,
    network,
    output_error,
    rates,
    reference,
    train_step,
)
from not_native import NOT_NATIVE
from torch import nn

networks = pytest.mark.parametrize("name", [name for name in NETWORKS if f"slim {name}" not in NOT_NATIVE])
some = pytest.mark.parametrize("name", [name for name in NETWORKS if f"slim {name}" not in NOT_NATIVE][::2])
LIMIT = 1e-7
"""Of a change."""
STEP = 1e-6
"""Share of a weight that a step changes: a random network is chaotic, and large steps would amplify rounding."""


@cache
def original(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Made once; every test takes a copy."""
    return network(name)


def copied(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    model, size = original(name)
    return copy.deepcopy(model), size


def trained_names(model: nn.Module) -> list[str]:
    return [n for n, p in model.named_parameters() if p.requires_grad]


@some
def test_ten_steps_with_every_channel_selected_are_those_of_torch(name: str) -> None:
    model, size = copied(name)
    twin = copy.deepcopy(model)
    sparse = converted(model, size, 1.0)
    dense = reference(twin, trained_names(sparse))
    rate = rates(dense, inputs(size, 0), 0, STEP)
    ours, torchs = sparsebp.optim.SGD(groups(sparse, rate), lr=0.0), torch.optim.SGD(groups(dense, rate), lr=0.0)
    start = {n: p.detach().clone() for n, p in dense.named_parameters()}
    for i in range(10):
        train_step(sparse, ours, inputs(size, i), i)
        train_step(dense, torchs, inputs(size, i), i)
    expected = dict(dense.named_parameters())
    for n, p in sparse.named_parameters():
        change, wanted = p.detach() - start[n], expected[n].detach() - start[n]
        assert (change - wanted).norm() <= LIMIT * max(wanted.norm(), 1e-6 * start[n].norm()), n
    assert sparse.arena.peak == sparse.plan.peak_bytes


@networks
def test_the_selected_channels_take_torch_s_gradient_and_nothing_else_changes(name: str) -> None:
    model, size = copied(name)
    twin = copy.deepcopy(model)
    sparse = converted(model, size, 0.3)
    assert list(sparse.state_dict()) == list(twin.state_dict())
    before = {n: t.clone() for n, t in sparse.state_dict().items()}
    dense = reference(twin, trained_names(sparse))
    x = inputs(size, 5)
    found, rate = gradients(dense, x, 5), rates(dense, x, 5, 1e-2)
    train_step(sparse, sparsebp.optim.SGD(groups(sparse, rate), lr=0.0), x, 5)
    sets = {f"{layer.name}.weight": sparse.update_set(layer.name) for layer in sparse.plan.layers}
    for n, value in sparse.state_dict().items():
        if n in sets:
            mask = channel_mask(sparse.get_submodule(n.removesuffix(".weight")), sets[n])
        else:
            mask = torch.full_like(value, n in found, dtype=torch.bool)
        assert torch.equal(value[~mask], before[n][~mask]), f"{n}: a frozen number has changed"
        if n in found:
            change, wanted = (value - before[n])[mask], -rate[n] * found[n][mask]
            # A channel that a ReLU has switched off may be all that is selected: zero is right then.
            assert (change - wanted).norm() <= LIMIT * max(wanted.norm(), 1e-6 * before[n].norm()), n
    assert sparse.arena.peak == sparse.plan.peak_bytes
    trained, expected = sparse.eval()(x), {n: t.clone() for n, t in sparse.state_dict().items()}
    plain = sparsebp.restore(sparse)
    assert plain is model
    assert all(torch.equal(t, expected[n]) for n, t in plain.state_dict().items())
    with torch.no_grad():
        assert output_error(trained, plain(x)) < 1e-10


@networks
def test_in_evaluation_mode_it_computes_what_the_network_does_in_float32(name: str) -> None:
    """Within 1e-5, or as exactly as torch: what a random network makes of rounding may be more than that."""
    model, size = copied(name)
    x = inputs(size, 7)
    with torch.no_grad():
        exact = model(x)
        rounded = output_error(model.float()(x.float()), exact)
        sparse = sparsebp.convert(model, sparsebp.min_budget(model, input_size=size), input_size=size).eval()
        assert output_error(sparse(x.float()), exact) < max(1e-5, 3 * rounded)


@some
def test_what_ought_to_train_does(name: str) -> None:
    """Every weight, every bias, the shift of every batch norm."""
    model, size = copied(name)
    sparse = converted(model, size, 1.0)
    weights = [m for m in model.modules() if isinstance(m, (nn.modules.conv._ConvNd, nn.Linear))]
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(sparse.plan.layers) == sparse.plan.reach.trainable == len(weights)
    assert all(m.weight.requires_grad for m in weights)
    assert all(m.bias is None or m.bias.requires_grad for m in (*weights, *norms))
