"""Networks of torchvision and timm: a plan or a reasoned refusal, and the network as it was."""

from __future__ import annotations

from typing import Any

import pytest
import sparsebp
import torch
from any_network import output_error, tensors
from not_native import NOT_NATIVE, in_the_way, refused_for
from torch import nn
from zoo import NETWORKS, network


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer, whether a state_dict has it or not."""
    return {n: t.detach().clone() for n, t in (*model.named_parameters(), *model.named_buffers())}


def assert_same_bits(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    now = state(model)
    assert now.keys() == before.keys()
    assert [n for n, t in now.items() if not torch.equal(t, before[n])] == []


def same(got: Any, expected: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(got), tensors(expected), strict=True))


#: All that are not wholly native, and some of the others; bench/networks.py takes all.
_SOME = [*(name for name in NETWORKS if name in NOT_NATIVE), *[n for n in NETWORKS if n not in NOT_NATIVE][::5]]


@pytest.mark.parametrize("name", _SOME)
def test_planning_and_converting_leave_a_network_as_it_was(name: str) -> None:
    model, size = network(name)
    x = torch.randn(2, *size)
    with torch.no_grad():
        expected = model(x)
    before, attributes = state(model), {m: set(vars(m)) for m in model.modules()}
    try:
        least = sparsebp.min_budget(model, input_size=size)
        assert_same_bits(model, before)
        plan = sparsebp.plan(model, 4 * least, input_size=size)
        assert_same_bits(model, before)
        converted = sparsebp.convert(model, 4 * least, input_size=size)
    except sparsebp.UnsupportedModel as refusal:
        assert_same_bits(model, before)
        assert {m: set(vars(m)) for m in model.modules()} == attributes
        with torch.no_grad():
            assert same(model(x), expected)
        found = refused_for(refusal)
        assert found == NOT_NATIVE.get(name, ())
        return
    assert in_the_way(plan) == NOT_NATIVE.get(name, ())
    assert_same_bits(model, before)
    with torch.no_grad():
        assert output_error(converted.eval()(x), expected) < 2e-5
    # Whatever training mode would do to statistics in front of the layers that train, it does not do.
    opt = sparsebp.optim.SGD(converted.train(), lr=0.0)
    sum(t.square().mean() for t in tensors(converted(x[:1]))).backward()
    opt.step()
    assert_same_bits(model, before)
    with torch.no_grad():
        assert output_error(converted.eval()(x), expected) < 2e-5


def test_a_network_of_which_only_the_end_trains_says_so_and_why() -> None:
    model, _ = network("timm.efficientvit_b0")
    text = " ".join(str(sparsebp.plan(model, "64MB", input_size=(3, 64, 64))).split())
    assert "layers that can train 6 of 52 layers; behind the others is what only torch runs" in text
    assert "LiteMLA (4, first: stages.2.blocks.1.context_module.main)" in text


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        (
            "torchvision.swin_t",
            ["shifted_window_attention (training mode gives it other arguments) (12,", "LayerNorm ("],
        ),
        ("timm.edgenext_xx_small", ["normalize (6, first: stages.1.blocks.1.xca)", "matmul (6,"]),
    ],
)
def test_a_refusal_names_every_kind_of_op_with_its_number_and_first_place(name: str, kinds: list[str]) -> None:
    model, size = network(name)
    with pytest.raises(sparsebp.UnsupportedModel) as refusal:
        sparsebp.plan(model, "4MB", input_size=size)
    assert [kind for kind in kinds if kind not in str(refusal.value)] == []
    assert "sparsebp.nn.replace" in str(refusal.value)


@pytest.mark.parametrize("name", ["torchvision.googlenet", "torchvision.inception_v3"])
def test_heads_that_only_training_mode_has_are_named_with_the_remedy(name: str) -> None:
    model, size = network(name)
    with pytest.raises(sparsebp.UnsupportedModel, match=r"(aux1|AuxLogits) belongs to training mode only.*aux=False"):
        sparsebp.plan(model, "4MB", input_size=size)
    x = torch.randn(1, *size)
    with torch.no_grad():
        expected = model(x)
    converted = sparsebp.convert(
        model, sparsebp.min_budget(model, input_size=size, aux=False), input_size=size, aux=False
    )
    assert output_error(converted.eval()(x).detach(), expected) < 2e-5
    assert not any(p.requires_grad for n, p in converted.named_parameters() if "aux" in n.lower())
