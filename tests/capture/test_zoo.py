"""Networks of torchvision and timm: a plan or a reasoned refusal, and the network as it was."""

from __future__ import annotations

import pytest
import sparsebp
import torch
from networks import relative_error
from torch import nn
from zoo import NETWORKS, network


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer, whether a state_dict has it or not."""
    return {n: t.detach().clone() for n, t in (*model.named_parameters(), *model.named_buffers())}


def assert_same_bits(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    now = tensors(model)
    assert now.keys() == before.keys()
    assert [n for n, t in now.items() if not torch.equal(t, before[n])] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_planning_and_converting_leave_a_network_as_it_was(name: str) -> None:
    model, side = network(name)
    size = (3, side, side)
    x = torch.randn(2, *size)
    with torch.no_grad():
        expected = model(x)
    before, attributes = tensors(model), {m: set(vars(m)) for m in model.modules()}
    try:
        least = sparsebp.min_budget(model, input_size=size)
        assert_same_bits(model, before)
        sparsebp.plan(model, 4 * least, input_size=size)
        assert_same_bits(model, before)
        converted = sparsebp.convert(model, 4 * least, input_size=size)
    except sparsebp.UnsupportedModel:
        assert_same_bits(model, before)
        assert {m: set(vars(m)) for m in model.modules()} == attributes
        assert torch.equal(model(x), expected)
        return
    assert_same_bits(model, before)
    with torch.no_grad():
        assert relative_error(converted.eval()(x), expected) < 2e-5
    # Whatever training mode would do to statistics in front of the layers that train, it does not do.
    opt = sparsebp.optim.SGD(converted.train(), lr=0.0)
    converted(x[:1]).square().mean().backward()
    opt.step()
    assert_same_bits(model, before)
    with torch.no_grad():
        assert relative_error(converted.eval()(x), expected) < 2e-5


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
    model, side = network(name)
    with pytest.raises(sparsebp.UnsupportedModel) as refusal:
        sparsebp.plan(model, "4MB", input_size=(3, side, side))
    assert [kind for kind in kinds if kind not in str(refusal.value)] == []
    assert "sparsebp.nn.replace" in str(refusal.value)


@pytest.mark.parametrize("name", ["torchvision.googlenet", "torchvision.inception_v3"])
def test_heads_that_only_training_mode_has_are_named_with_the_remedy(name: str) -> None:
    model, side = network(name)
    size = (3, side, side)
    with pytest.raises(sparsebp.UnsupportedModel, match=r"(aux1|AuxLogits) belongs to training mode only.*aux=False"):
        sparsebp.plan(model, "4MB", input_size=size)
    x = torch.randn(1, *size)
    with torch.no_grad():
        expected = model(x)
    converted = sparsebp.convert(
        model, sparsebp.min_budget(model, input_size=size, aux=False), input_size=size, aux=False
    )
    assert relative_error(converted.eval()(x).detach(), expected) < 2e-5
    assert not any(p.requires_grad for n, p in converted.named_parameters() if "aux" in n.lower())
