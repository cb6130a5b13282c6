"""What a step does to the weights: with every channel selected, what dense torch does; else a part of that.

Trajectories of random networks are compared in float64, where rounding is too small to be amplified into
something visible. In float32, where a mask may flip in either run, networks are calm (see
``networks.randomize_norms``) or every step starts from the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import sparsebp
import torch
from dense_torch import (
    assert_follows,
    convert,
    dense,
    dense_gradients,
    groups,
    plans,
    rates,
    step,
    train_both,
    trains,
    values,
)
from networks import Size, batch, biased_network, mobilenet, residual_network, tiny_mobilenet
from sparsebp import SparseModel
from torch import nn

NETWORKS: dict[str, tuple[Callable[..., nn.Module], Size]] = {
    "inverted residuals": (tiny_mobilenet, (3, 32, 32)),
    "residual network": (residual_network, (3, 20, 24)),
    "biases before norms": (biased_network, (3, 15, 17)),
}
networks = pytest.mark.parametrize("kind", NETWORKS)


# -- every channel selected ----------------------------------------------------------------------


@plans
def test_mobilenet_v2_follows_dense_torch(sums: bool) -> None:
    size = (3, 64, 64)
    model = mobilenet().double()
    reference = dense(model)
    train_both(convert(model, size, sums), reference, size, 1e-3, {10: 1e-9})


@plans
@networks
def test_fifty_steps_follow_dense_torch(kind: str, sums: bool) -> None:
    make, size = NETWORKS[kind]
    model = make().double()
    reference = dense(model)
    train_both(convert(model, size, sums), reference, size, 3e-3, {10: 1e-9, 50: 1e-9})


@plans
@networks
def test_fifty_steps_in_float32_follow_dense_torch_in_float64(kind: str, sums: bool) -> None:
    """Small steps: large ones would carry activations over the edges of their ReLU6."""
    make, size = NETWORKS[kind]
    model = make(calm=True)
    reference = dense(model)
    train_both(convert(model, size, sums), reference, size, 1e-4, {10: 1e-3, 50: 5e-3})


@plans
def test_each_step_of_mobilenet_v2_in_float32_is_the_dense_step_from_there(sums: bool) -> None:
    size = (3, 64, 64)
    model = mobilenet(calm=True)
    reference = dense(model)
    sparse = convert(model, size, sums)
    opt = None
    for i in range(8):
        reference.load_state_dict(sparse.state_dict())
        rate = rates(reference, size, 1e-3, seed=i)  # anew, so that no step is lost in the weights' rounding
        opt = opt or sparsebp.optim.SGD(groups(sparse, rate), lr=0.0)
        for group, lr in zip(opt.param_groups, rate.values(), strict=True):
            group["lr"] = lr
        start = {n: t.double() for n, t in values(sparse, rate).items()}
        x, y = batch(size, seed=i)
        step(sparse, opt, x, y)
        step(reference, torch.optim.SGD(groups(reference, rate), lr=0.0), x, y)
        assert_follows(sparse, reference, start, 1e-3)


RULES = {
    "momentum": {"momentum": 0.9},
    "weight decay": {"weight_decay": 0.1},
    "momentum and weight decay": {"momentum": 0.5, "weight_decay": 0.1},
}


@pytest.mark.parametrize("rule", RULES)
@plans
@networks
def test_rules_are_those_of_torch(kind: str, sums: bool, rule: str) -> None:
    make, size = NETWORKS[kind]
    model = make().double()
    reference = dense(model)
    sparse = convert(model, size, sums, momentum="momentum" in rule, resample_every=1000)
    train_both(sparse, reference, size, 1e-3, {10: 1e-9}, **RULES[rule])


@plans
def test_one_rate_for_the_whole_model(sums: bool) -> None:
    """``SGD(model, lr)``, and a change of the rate between steps as a scheduler makes it."""
    model, size = tiny_mobilenet().double(), (3, 32, 32)
    reference = dense(model)
    start = values(reference, [n for n, p in reference.named_parameters() if p.requires_grad])
    sparse = convert(model, size, sums)
    ours, torchs = sparsebp.optim.SGD(sparse, lr=1e-3), torch.optim.SGD(reference.parameters(), lr=1e-3)
    for i in range(10):
        x, y = batch(size, seed=i)
        for network, opt in ((sparse, ours), (reference, torchs)):
            opt.param_groups[0]["lr"] = 1e-3 / (1 + i)
            step(network, opt, x, y)
    assert_follows(sparse, reference, start, 1e-9)


# -- some channels selected ----------------------------------------------------------------------


def assert_trains_what_is_selected(
    model: SparseModel, reference: nn.Module, size: Size, limit: float, shifts: Iterable[str]
) -> None:
    """One step: ``-lr`` times the dense gradient in the selected columns and in ``shifts``, else no bit."""
    x, y = batch(size, seed=5)
    rate = rates(reference, size, 0.01)
    grads = dense_gradients(reference, x, y)
    opt = sparsebp.optim.SGD(groups(model, {n: r for n, r in rate.items() if trains(model, n)}), lr=0.0)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    step(model, opt, x, y)
    after = model.state_dict()
    selected = {f"{layer.name}.weight": model.update_set(layer.name) for layer in model.plan.layers}
    for name, value in before.items():
        if name in selected:
            mask = columns(model.get_submodule(name.removesuffix(".weight")), selected[name])
        else:
            mask = torch.full_like(value, name in shifts, dtype=torch.bool)
        assert torch.equal(after[name][~mask], value[~mask]), f"{name}: a frozen number has changed"
        if mask.any():
            change = (after[name].double() - value.double())[mask]
            wanted = -rate[name] * grads[name][mask]
            # A channel that a ReLU has switched off may be all that is selected: zero is right then.
            error, allowed = (change - wanted).norm(), limit * wanted.norm()
            assert error <= allowed, f"{name}: error {error:.2g}, allowed {allowed:.2g}"


def columns(layer: nn.Module, channels: torch.Tensor) -> torch.Tensor:
    """Which weights belong to these input channels."""
    mask = torch.zeros_like(layer.weight, dtype=torch.bool)
    groups = getattr(layer, "groups", 1)
    per_group, outputs = layer.weight.shape[1], layer.weight.shape[0] // groups
    for c in channels.tolist():
        first = c // per_group * outputs
        mask[first : first + outputs, c % per_group] = True
    return mask


def shifts_of(model: nn.Module, behind: str = "") -> set[str]:
    """Names of all batch-norm shifts and biases from submodule ``behind`` on."""
    names = [n for n, _ in model.named_parameters() if n.endswith(("bias", "weight"))]
    first = min((i for i, n in enumerate(names) if n.startswith(behind)), default=0)
    return {n for n in names[first:] if n.endswith("bias")}


PRECISIONS = {"float64": (torch.float64, False, 1e-9), "float32": (torch.float32, True, 1e-3)}
precisions = pytest.mark.parametrize("precision", PRECISIONS)


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.9])
@precisions
@plans
@networks
def test_the_selected_channels_take_the_dense_step(kind: str, sums: bool, precision: str, ratio: float) -> None:
    make, size = NETWORKS[kind]
    dtype, calm, limit = PRECISIONS[precision]
    model = make(seed=1, calm=calm).to(dtype)
    reference = dense(model)
    sparse = convert(model, size, sums, ratios={"*": ratio})
    assert len(sparse.plan.layers) == sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules())
    assert_trains_what_is_selected(sparse, reference, size, limit, shifts_of(model))


@plans
@networks
def test_a_frozen_prefix_stays_as_it_is(kind: str, sums: bool) -> None:
    make, size = NETWORKS[kind]
    model = make(seed=2).double()
    reference = dense(model)
    first = {"inverted residuals": "features.3", "residual network": "2", "biases before norms": "2"}[kind]
    ratios = {"*": 0.0, **{f"{n}*": 0.5 for n in _from(model, first)}}
    sparse = convert(model, size, sums, ratios=ratios)
    assert sparse.plan.layers[0].name.startswith(first)
    assert_trains_what_is_selected(sparse, reference, size, 1e-9, shifts_of(model, first))


def _from(model: nn.Module, first: str) -> list[str]:
    names = [n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return names[min(i for i, n in enumerate(names) if n.startswith(first)) :]


@networks
def test_without_train_bias_only_the_classifier_s_bias_trains(kind: str) -> None:
    make, size = NETWORKS[kind]
    model = make(seed=3).double()
    reference = dense(model)
    sparse = convert(model, size, False, ratios={"*": 0.4}, train_bias=False)
    (bias,) = [f"{n}.bias" for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    assert_trains_what_is_selected(sparse, reference, size, 1e-9, {bias})


@plans
@networks
def test_a_ratio_of_zero_freezes_a_layer_and_lets_the_gradient_through(kind: str, sums: bool) -> None:
    make, size = NETWORKS[kind]
    model = make(seed=4).double()
    reference = dense(model)
    frozen = {"inverted residuals": ["features.3.conv.1.0", "features.4.conv.0.0", "classifier.1"]}
    frozen["residual network"] = ["2.body.0.0", "4.body.1.0", "5.0"]
    frozen["biases before norms"] = ["1.body.1.0", "2.2.0", "4.0", "8"]
    sparse = convert(model, size, sums, ratios={"*": 0.5, **dict.fromkeys(frozen[kind], 0.0)})
    assert not {layer.name for layer in sparse.plan.layers} & set(frozen[kind])
    assert_trains_what_is_selected(sparse, reference, size, 1e-9, shifts_of(model))


@plans
def test_momentum_of_weights_starts_anew_with_each_set(sums: bool) -> None:
    """That of a redrawn channel would belong to another; shifts are never redrawn and keep theirs."""
    size = (3, 20, 24)
    model = residual_network().double()
    reference = dense(model)
    sparse = convert(model, size, sums, ratios={"*": 0.3}, momentum=True, resample_every=3)
    opt = sparsebp.optim.SGD(sparse, lr=1e-3, momentum=0.9)
    layers = {f"{layer.name}.weight": layer.name for layer in sparse.plan.layers}
    weights = dict(reference.named_parameters())
    velocity = {n: torch.zeros_like(p) for n, p in weights.items()}
    start = values(sparse, dict(weights))
    for i in range(9):
        x, y = batch(size, seed=i)
        step(sparse, opt, x, y)
        for name, grad in dense_gradients(reference, x, y).items():
            if name in layers:
                grad = grad * columns(reference.get_submodule(layers[name]), sparse.update_set(layers[name]))
                velocity[name] *= i % 3 > 0
            velocity[name] = 0.9 * velocity[name] + grad
            with torch.no_grad():
                weights[name] -= 1e-3 * velocity[name]
    assert_follows(sparse, reference, {n: start[n] for n, p in weights.items() if p.requires_grad}, 1e-9)
