"""Curves that keep their derivative in few bits instead of their input: fewer bytes, gradients of a known error."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import sparsebp
import torch
from command_line import BOXES, SMALL
from networks import batch, conv_norm, seeded, tiny_mobilenet
from runs import Run, run
from sparsebp import SparseModel
from sparsebp.cli.errors import Exit
from sparsebp.finetuning import Settings
from sparsebp.planning.plan import Plan
from sparsebp.runtime import Session
from torch import nn
from torch.nn.functional import cross_entropy
from training import assert_same, everything

__all__ = ["run"]  # fixtures

SIZE = (3, 11, 13)
ALL = {"input_size": SIZE, "ratios": {"*": 1.0}}

#: How far a derivative in so many bits may be from the exact one: half a step, or what the curve overshoots.
FURTHEST = {("SiLU", 4): 0.039, ("SiLU", 8): 0.0024, ("GELU", 4): 0.053, ("Hardswish", 4): 0.167, ("Tanh", 3): 0.072}


def curved(kind: type[nn.Module] = nn.SiLU, seed: int = 0) -> nn.Module:
    """Two convolutions with a curve between them, and one that nothing but logits follow."""

    def make() -> nn.Module:
        parts = [conv_norm(3, 7, 3, kind), conv_norm(7, 9, 3, kind, stride=2), nn.Conv2d(9, 5, 3)]
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 5))

    return seeded(seed, make, SIZE)


def changes(model: SparseModel, images: int = 1) -> dict[str, torch.Tensor]:
    """What one step at a rate of 1 takes off every parameter: its gradient."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    opt = sparsebp.optim.SGD(model.train(), lr=1.0)
    x, y = batch(SIZE, images, 5)
    cross_entropy(model(x.to(next(model.parameters()).dtype)), y).backward()
    opt.step()
    return {name: before[name] - p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("bits", [2, 3, 4, 7, 8])
@pytest.mark.parametrize("images", [1, 3])
def test_a_curve_keeps_so_many_bits_of_each_number_and_nothing_else(bits: int, images: int) -> None:
    asked = {**ALL, "batch_size": images}
    exact = sparsebp.plan(curved(), "1MB", **asked)
    model = sparsebp.convert(curved(), "1MB", activation_bits=bits, **asked)
    counts = [7 * 11 * 13 * images, 9 * 6 * 7 * images]
    curves = [i for i, op in enumerate(exact.network.ops) if op.kind == "activation"]
    kept = [(b.op, b.role, b.bytes) for b in exact.buffers if b.op in curves and b.role in ("input", "mask")]
    assert kept == [(op, "input", 4 * count) for op, count in zip(curves, counts, strict=True)]
    kept = [(b.op, b.role, b.bytes) for b in model.plan.buffers if b.op in curves and b.role in ("input", "mask")]
    assert kept == [(op, "mask", (count + 7) // 8 * bits) for op, count in zip(curves, counts, strict=True)]
    assert model.plan.peak_bytes < exact.peak_bytes
    changes(model, images)
    assert model.arena.peak == model.plan.peak_bytes
    assert sparsebp.min_budget(curved(), activation_bits=bits, **asked) < sparsebp.min_budget(curved(), **asked)


@pytest.mark.parametrize(("curve", "bits"), FURTHEST)
def test_gradients_have_the_error_of_the_derivatives_and_no_other(curve: str, bits: int) -> None:
    net = curved(getattr(nn, curve)).double()
    exact, kept = copy.deepcopy(net), sparsebp.convert(copy.deepcopy(net), "4MB", activation_bits=bits, **ALL)
    second = exact[1]
    seen: dict[str, torch.Tensor] = {}
    second[1].register_forward_hook(lambda _, __, z: (z.retain_grad(), seen.update(z=z))[0])
    second[2].register_forward_hook(lambda _, __, y: (y.retain_grad(), seen.update(y=y))[0])
    x, y = batch(SIZE, 1, 5)
    exact.eval()
    cross_entropy(exact(x.double()), y).backward()
    got = changes(kept)
    behind = [name for name in got if name.startswith(("2.", "5."))]
    for name in behind:  # no curve lies between these and the loss
        torch.testing.assert_close(got[name], exact.get_parameter(name).grad, rtol=1e-9, atol=1e-12)
    # A shift's gradient is the sum of dy * slope over the pixels, so its error is at most that of each slope.
    allowed = seen["y"].grad.abs().sum((0, 2, 3)) * FURTHEST[curve, bits]
    error = (got["1.1.bias"] - second[1].bias.grad).abs()
    assert (error <= allowed).all()
    assert (error > 0).any()


def test_without_a_number_of_bits_gradients_are_exact() -> None:
    net = curved().double()
    got = changes(sparsebp.convert(copy.deepcopy(net), "4MB", **ALL))
    x, y = batch(SIZE, 1, 5)
    cross_entropy(net.eval()(x.double()), y).backward()
    for name, parameter in net.named_parameters():
        if "1.weight" not in name:  # the scales of frozen norms
            torch.testing.assert_close(got[name], parameter.grad, rtol=1e-9, atol=1e-12)


def test_what_makes_its_numbers_again_rounds_nothing() -> None:
    """A block with a curve keeps its input, from which it makes the rest exactly, whatever is asked for."""

    def make() -> nn.Module:
        wide = conv_norm(8, 24, 1, nn.Hardswish)
        block = nn.Sequential(wide, conv_norm(24, 24, 3, nn.Hardswish, groups=24), conv_norm(24, 8, 1, None))
        return nn.Sequential(conv_norm(3, 8), block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    models = [sparsebp.convert(seeded(1, make, SIZE), "1MB", activation_bits=bits, **ALL) for bits in (None, 2)]
    assert "gated" in [op.kind for op in models[0].plan.network.ops]
    assert models[0].plan.buffers == models[1].plan.buffers
    gradients = [changes(model) for model in models]
    assert_same(gradients[1], gradients[0])


def test_plans_of_networks_without_curves_have_the_same_bytes() -> None:
    plans = [sparsebp.plan(tiny_mobilenet(), "64KB", input_size=SIZE, activation_bits=bits) for bits in (None, 4)]
    assert plans[0].buffers == plans[1].buffers
    assert plans[0].layers == plans[1].layers


def test_a_plan_says_how_many_bits_it_keeps() -> None:
    plan = sparsebp.plan(curved(), "1MB", activation_bits=4, **ALL)
    assert Plan.from_json(plan.to_json()) == plan
    assert sparsebp.convert(curved(), plan=plan).plan == plan
    assert any(
        "4 bits of its derivative" in text for text in sparsebp.explain(curved(), "1MB", activation_bits=4, **ALL)
    )
    with pytest.raises(ValueError, match="activation_bits: None was given, but the plan was made with 4"):
        sparsebp.convert(curved(), plan=plan, activation_bits=None)


def test_a_plan_whose_parts_disagree_about_bits_is_refused() -> None:
    data = sparsebp.plan(curved(), "1MB", activation_bits=4, **ALL).to_dict()
    data["settings"]["activation_bits"] = None
    with pytest.raises(ValueError, match=r"plan\.choice\.activation_bits: expected 0 as in the settings, got 4"):
        Plan.from_dict(data)


@pytest.mark.parametrize("bits", [0, 1, 9, -4, True, 4.0, "4"])
def test_other_bits_are_refused(bits: Any) -> None:
    message = f"activation_bits: expected None or a whole number from 2 to 8, got {bits!r}"
    for call in (sparsebp.plan, sparsebp.convert, sparsebp.min_budget):
        with pytest.raises(ValueError, match=message):
            call(curved(), activation_bits=bits, **ALL)
    with pytest.raises(ValueError, match=message):
        Settings(activation_bits=bits)


def test_a_session_keeps_so_many_bits_and_trains_to_the_same_bits(tmp_path: Path) -> None:
    model, twin = (sparsebp.convert(curved(), "1MB", activation_bits=3, **ALL) for _ in range(2))
    rates, opt = (sparsebp.optim.SGD(m.train(), lr=0.01) for m in (model, twin))
    sparsebp.export(model, tmp_path / "plan.safetensors", classes=list("abcde"))
    del rates  # they are in the file
    session = Session(tmp_path / "plan.safetensors")
    for seed in range(3):
        x, y = batch(SIZE, 1, 5, seed)
        step = session.train(x.permute(0, 2, 3, 1).contiguous().numpy(), y.numpy())
        loss = cross_entropy(twin(x).double(), y)
        loss.backward()
        opt.step()
        opt.zero_grad()
        assert step.loss == loss.item()
    session.save(tmp_path / "after.safetensors")
    trained = sparsebp.load_file(tmp_path / "after.safetensors")
    assert all(torch.equal(trained[name], value) for name, value in twin.state_dict().items())


def test_copies_and_checkpoints_keep_so_many_bits() -> None:
    model = sparsebp.convert(curved(), "1MB", activation_bits=5, **ALL)
    again = copy.deepcopy(model)
    assert again.plan.choice.activation_bits == 5
    changes(model)
    changes(again)
    assert_same(everything(again), everything(model))


def test_the_command_line_takes_them(run: Run) -> None:
    code, out, _ = run("plan", *SMALL, "--activation-bits", "4", "--json")
    assert code == Exit.OK
    assert json.loads(out)["settings"]["activation_bits"] == 4
    code, _, err = run("plan", *SMALL, "--activation-bits", "9")
    assert code == Exit.USAGE
    assert "expected None or a whole number from 2 to 8, got 9" in " ".join(BOXES.sub("", err).split())
