"""``state_dict`` of our optimizer, for parameters that are native and for those that are not."""

from __future__ import annotations

import torch
from networks import batch
from sparsebp.optim import SGD
from torch import nn
from training import SIZE, converted, step


def test_ordinary_parameters_follow_the_groups_that_were_loaded() -> None:
    layer = nn.Linear(4, 3)
    opt = SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 4)).sum().backward()
    opt.step()
    opt.load_state_dict(opt.state_dict())
    opt.param_groups[0]["lr"] = 0.0
    before = layer.weight.detach().clone()
    opt.step()
    assert torch.equal(layer.weight, before)


def test_the_state_of_a_dense_run_in_torch_can_be_loaded() -> None:
    model = converted()
    dense = torch.optim.SGD(list(model.trained_parameters()), lr=0.5, weight_decay=0.01)
    opt = SGD(model, lr=0.1)
    opt.load_state_dict(dense.state_dict())
    group = opt.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["normalise"]) == (0.5, 0.01, False)
    x, _ = batch(SIZE, 1)
    before = model(x.clone()).detach()
    step(model, opt)
    assert not torch.equal(model(x), before)
