"""Blocks that keep their input and make masks and selected channels again: fewer bytes, the same bits in 32."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path

import pytest
import sparsebp
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import Residual, batch, conv_norm, seeded, tiny_mobilenet
from sparsebp import SparseModel, devices
from sparsebp._C import OpKind
from sparsebp.planning.layouts import Layouts
from sparsebp.planning.plan import Plan
from sparsebp.runtime import Session
from sparsebp.training.convert import read
from torch import nn
from torch.nn.functional import cross_entropy
from training import assert_same, everything

SIZE = (3, 32, 32)


def random_blocks(rng: random.Random) -> nn.Module:
    """A stem and some inverted residuals, with and without expansion, of any stride, kernel and width."""
    channels = rng.choice([4, 8, 15])
    parts: list[nn.Module] = [conv_norm(3, channels, 3, nn.ReLU6, stride=2, padding=1)]
    for _ in range(rng.randint(1, 4)):
        wide, kernel, stride = channels * rng.choice([1, 2, 6]), rng.choice([3, 5]), rng.choice([1, 1, 2])
        adds = stride == 1 and rng.random() < 0.7
        out = channels if adds else rng.choice([6, 16, 20])
        layers = [conv_norm(channels, wide, 1, nn.ReLU6)] if wide != channels else []
        layers.append(conv_norm(wide, wide, kernel, nn.ReLU6, groups=wide, stride=stride, padding=kernel // 2))
        body = nn.Sequential(*layers, conv_norm(wide, out, 1, None))
        parts.append(Residual(body, activation=False) if adds else body)
        channels = out
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]
    return seeded(rng.getrandbits(31), lambda: nn.Sequential(*parts), SIZE)


def keeping(net: nn.Module, plan: Plan, what: str | None) -> SparseModel:
    """The same layers and channels; every block of the span that can keeps its input like that, or masks with None."""
    graph = read(net, plan.input_size)
    blocks = [i for i, op in enumerate(graph.ops) if op.kind == OpKind.block and i >= plan.choice.begin]
    keeps = {i: "input" if len(graph.ops[i].layers) < 3 else what for i in blocks} if what else {}
    choice = replace(plan.choice, pieces=replace(plan.choice.pieces, keeps=keeps))
    request = replace(plan.request, saved_bits=8 if what == "input8" else 32)
    return sparsebp.convert(net, plan=Layouts(graph, net, request).plan(choice, 2**28))


def train(model: SparseModel, steps: int = 3) -> list[torch.Tensor]:
    """Outputs of some steps, of which the second has fewer images, and of inference in between."""
    images, outputs = model.plan.batch_size, []
    numbers = {"momentum": 0.9 if model.plan.momentum else 0.0, "normalise": model.plan.normalise}
    opt = sparsebp.optim.SGD(model.train(), lr=0.05, **numbers)
    for i in range(steps):
        x, y = batch(model.plan.input_size, max(1, images - i % 2), 5, seed=i)
        out = model.train()(x)
        cross_entropy(out, y).backward()
        opt.step()
        opt.zero_grad()
        with torch.no_grad():
            outputs += [out.detach().clone(), model.eval()(x).clone()]
    return outputs


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_blocks_that_keep_their_input_train_as_those_that_keep_masks_to_the_bit(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**31 - 1)))
    options = {
        "input_size": SIZE,
        "scope": data.draw(st.sampled_from(["training", "step"])),
        "batch_size": data.draw(st.integers(1, 3)),
        "sampler": data.draw(st.sampled_from(list(sparsebp.samplers.NAMES))),
        "momentum": data.draw(st.booleans()),
        "normalise": data.draw(st.booleans()),
        "gradients": data.draw(st.sampled_from(["in_place", "sum"])),
        "train_bias": data.draw(st.booleans()),
        "seed": rng.getrandbits(31),
        "ratios": data.draw(st.sampled_from([None, {"*": 1.0}, {"*": 0.3}])),
    }
    net = random_blocks(rng)
    plan = sparsebp.plan(net, "16MB", **options)
    block = rng.choice([16, 32, 512])
    plan = replace(plan, choice=replace(plan.choice, blocks=dict.fromkeys(plan.choice.blocks, block)))
    twin, third = copy.deepcopy(net), copy.deepcopy(net)
    masks, kept, levels = keeping(net, plan, None), keeping(twin, plan, "input"), keeping(third, plan, "input8")
    for own, other in zip(train(kept), train(masks), strict=True):
        assert torch.equal(own, other)
    assert_same(everything(kept), everything(masks))
    train(levels)
    for model in (kept, levels):
        assert model.arena.peak == model.plan.peak_bytes
        assert Plan.from_json(model.plan.to_json()) == model.plan


def test_the_plan_keeps_inputs_only_where_that_lets_more_train() -> None:
    net = tiny_mobilenet(classes=5)
    roomy = sparsebp.plan(net, "16MB", scope="step", input_size=SIZE)
    assert not roomy.choice.pieces.keeps
    tight = {bits: sparsebp.min_budget(net, scope="step", input_size=SIZE, saved_bits=bits) for bits in (32, 8)}
    assert tight[8] <= tight[32]
    every = {"input_size": SIZE, "scope": "step", "ratios": {"*": 1.0}}
    least = {bits: sparsebp.min_budget(net, saved_bits=bits, **every) for bits in (32, 8)}
    plans = {bits: sparsebp.plan(net, least[bits], saved_bits=bits, **every) for bits in (32, 8)}
    usual = keeping(copy.deepcopy(net), plans[32], None).plan
    assert least[8] < least[32] < usual.peak_bytes
    assert set(plans[32].choice.pieces.keeps.values()) == {"input"}
    assert "input8" in plans[8].choice.pieces.keeps.values()


def test_where_the_budget_covers_training_alone_8_bits_are_asked_for() -> None:
    net, every = tiny_mobilenet(classes=5), {"input_size": SIZE, "ratios": {"*": 1.0}}
    least = {bits: sparsebp.min_budget(net, saved_bits=bits, **every) for bits in (32, 8)}
    plans = {bits: sparsebp.plan(net, least[bits], saved_bits=bits, **every) for bits in (32, 8)}
    assert least[8] < least[32]
    assert not plans[32].choice.pieces.keeps
    assert "input8" in plans[8].choice.pieces.keeps.values()


def test_a_gpu_refuses_a_plan_that_keeps_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny_mobilenet(classes=5)
    plan = keeping(net, sparsebp.plan(net, "16MB", input_size=SIZE), "input8").plan
    spec = Layouts(read(tiny_mobilenet(classes=5), SIZE), net, plan.request).factory.make(plan.choice)
    monkeypatch.setattr(devices, "check", lambda *_: None)  # there is none on most machines
    with pytest.raises(ValueError, match="saved_bits: blocks keep their inputs on processors only"):
        devices.make_program(spec, plan.budget, torch.float32, "", torch.device("cuda"))


def test_other_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="saved_bits: expected 32 or 8, got 16"):
        sparsebp.plan(tiny_mobilenet(), input_size=SIZE, saved_bits=16)


@pytest.mark.parametrize("what", ["input", "input8"])
def test_a_session_keeps_what_the_plan_says(tmp_path: Path, what: str) -> None:
    model, twin = (keeping(tiny_mobilenet(classes=5), step_plan(), what) for _ in range(2))
    rates, opt = (sparsebp.optim.SGD(m.train(), lr=0.01) for m in (model, twin))
    sparsebp.export(model, tmp_path / "plan.safetensors", classes=list("abcde"))
    del rates  # they are in the file
    session = Session(tmp_path / "plan.safetensors")
    x, y = batch(SIZE, 1, 5)
    step = session.train(x.permute(0, 2, 3, 1).contiguous().numpy(), y.numpy())
    loss = cross_entropy(twin(x).double(), y)
    loss.backward()
    opt.step()
    assert step.loss == loss.item()
    saved = tmp_path / "after.safetensors"
    session.save(saved)
    trained = sparsebp.load_file(saved)
    assert all(torch.equal(trained[name], value) for name, value in twin.state_dict().items())


def step_plan() -> Plan:
    return sparsebp.plan(tiny_mobilenet(classes=5), "16MB", scope="step", input_size=SIZE)


def test_a_plan_says_which_blocks_keep_their_input() -> None:
    asked = {"input_size": SIZE, "scope": "step", "ratios": {"*": 1.0}, "saved_bits": 8}
    net = tiny_mobilenet(classes=5)
    least = sparsebp.min_budget(net, **asked)
    assert not any("keeps its input" in text for text in sparsebp.explain(net, "16MB", **asked))
    (text,) = [text for text in sparsebp.explain(net, least, **asked) if "keeps its input" in text]
    assert "in 8 bits" in text


def test_a_plan_of_32_bits_that_keeps_8_is_refused() -> None:
    data = keeping(tiny_mobilenet(classes=5), step_plan(), "input8").plan.to_dict()
    data["settings"]["saved_bits"] = 32
    with pytest.raises(ValueError, match="keeps: expected no input8, as the settings say 32 bits"):
        Plan.from_dict(data)
