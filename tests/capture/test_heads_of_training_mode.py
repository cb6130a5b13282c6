"""Networks that run more in training mode than in evaluation, auxiliary heads above all, and ``aux=False``."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import sparsebp
import torch
from dense_torch import dense
from networks import batch, conv_norm, relative_error
from runs import Run, run
from sparsebp import UnsupportedModel
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy
from training import SIZE, assert_same, everything, one_thread  # noqa: F401

__all__ = ["run"]  # fixtures


class TwoHeads(nn.Module):
    """In training mode there is a head in the middle."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = conv_norm(3, 8, stride=2), conv_norm(8, 16)
        self.aux = nn.Linear(8, 10)
        self.head = nn.Linear(16, 10)
        self.drop = drop

    def forward(self, x: torch.Tensor) -> Any:
        x = self.first(x)
        if self.training:
            early = self.aux(functional.dropout(x.mean((2, 3)), 0.7, self.training))
        x = functional.dropout(self.second(x).mean((2, 3)), self.drop, training=self.training)
        logits = self.head(x)
        return (logits, early) if self.training else logits


def network(drop: float = 0.0) -> TwoHeads:
    torch.manual_seed(0)
    return TwoHeads(drop).eval()


SETTINGS: dict[str, Any] = {"input_size": SIZE, "batch_size": 4, "ratios": {"*": 1.0}, "aux": False}


def test_the_refusal_names_the_argument() -> None:
    net = network()
    before = everything(net)
    for call in (sparsebp.convert, sparsebp.plan):
        with pytest.raises(UnsupportedModel, match=r"mean belongs to training mode only.*aux=False leaves out"):
            call(net, "1MB", input_size=SIZE)
    assert_same(everything(net), before)


def test_what_is_evaluated_trains_as_in_torch() -> None:
    reference = dense(network())
    model = sparsebp.convert(network().double(), "1MB", **SETTINGS).train()
    opt = sparsebp.optim.SGD(model, lr=0.1)
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert sorted(names) == sorted(n for n, p in reference.named_parameters() if p.requires_grad and "aux" not in n)
    parameters = dict(reference.named_parameters())
    torchs = torch.optim.SGD([parameters[n] for n in names], lr=0.1)
    for i in range(10):
        x, y = batch(SIZE, 4, seed=i)
        for net, optimizer in ((model, opt), (reference, torchs)):
            optimizer.zero_grad()
            cross_entropy(net(x.double()), y).backward()
            optimizer.step()
    for name in names:
        assert relative_error(dict(model.named_parameters())[name], parameters[name]) < 1e-12
    original = sparsebp.restore(model)
    assert isinstance(original.train()(x.double()), tuple)


def test_dropout_drops_as_in_training_mode() -> None:
    model = sparsebp.convert(network(drop=0.5), "1MB", **SETTINGS).train()
    assert [op.drop for op in model._graph.ops if op.drop] == [0.5]
    x, _ = batch(SIZE, 4)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        assert torch.equal(model.eval()(x), model(x))


def test_plans_and_copies_carry_it() -> None:
    plan = sparsebp.plan(network(), "1MB", **SETTINGS)
    assert sparsebp.Plan.from_json(plan.to_json()) == plan
    assert not plan.request.aux
    model = sparsebp.convert(network(), plan=plan)
    assert copy.deepcopy(model).plan == plan
    with pytest.raises(ValueError, match=r"^aux: True was given, but the plan was made with False"):
        sparsebp.convert(network(), plan=plan, aux=True)


def test_commands_have_the_option(run: Run) -> None:
    words = ["plan", "--model", f"{__name__}:network", "--input-size", "16", "--max-update-ratio", "1"]
    assert "aux=False leaves out" in run(*words)[2]
    assert "second.0" in run(*words, "--no-aux")[1]


def test_a_network_inside_another_one_is_followed_likewise() -> None:
    x, _ = batch(SIZE, 4)
    whole = nn.Sequential(network(), nn.ReLU()).eval()
    with pytest.raises(UnsupportedModel, match=r"TwoHeads \(1, first: 0\)"):
        sparsebp.convert(whole, "1MB", input_size=SIZE)
    model = sparsebp.convert(copy.deepcopy(whole), "1MB", **SETTINGS)
    assert model.plan.layers[0].name == "0.first.0"
    torch.testing.assert_close(model(x), whole(x), rtol=1e-4, atol=1e-5)
