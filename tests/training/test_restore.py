"""A restored model is the module that was converted, with what was learned."""

from __future__ import annotations

import pytest
import safetensors.torch
import sparsebp
import torch
from networks import batch, relative_error
from saved_networks import NETWORKS, assert_equal, go_on, networks, original, output, trained
from torch.nn.functional import cross_entropy
from training import SIZE, converted, step


def test_state_that_is_loaded_ends_a_forward_pass_whose_channels_were_others() -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.1)
    state = model.engine.state()
    step(model, opt)
    loss = model(batch(SIZE, 1)[0]).sum()
    model.engine.load_state(state)
    with pytest.raises(RuntimeError, match="its saved channels are gone"):
        loss.backward()
    step(model, opt)


@networks
def test_a_restored_model_computes_what_the_converted_one_did(kind: str) -> None:
    model = trained(kind)
    expected, state = output(model, kind), {n: t.clone() for n, t in model.state_dict().items()}
    plain = sparsebp.restore(model)
    assert relative_error(output(plain, kind), expected) < 1e-5
    assert_equal(plain.state_dict(), state)


@networks
def test_a_restored_model_is_the_module_that_was_converted_with_contiguous_weights(kind: str) -> None:
    source = original(kind)
    flags = {n: i % 3 > 0 for i, (n, _) in enumerate(source.named_parameters())}
    for name, parameter in source.named_parameters():
        parameter.requires_grad_(flags[name])
    modules = list(source.modules())
    _, size, budget = NETWORKS[kind]
    model = sparsebp.convert(source, budget, input_size=size).train()
    go_on(model)
    plain = sparsebp.restore(model)
    assert plain is source
    assert [id(m) for m in plain.modules()] == [id(m) for m in modules]
    assert {n: p.requires_grad for n, p in plain.named_parameters()} == flags
    assert all(p.is_contiguous() and p.grad is None for p in plain.parameters())
    safetensors.torch.save(plain.state_dict())  # refuses what is not contiguous


@networks
def test_a_restored_model_trains_in_torch(kind: str) -> None:
    model = trained(kind)
    plain, reference = sparsebp.restore(model).eval(), original(kind)
    reference.load_state_dict(plain.state_dict())
    for network in (plain, reference):
        for parameter in network.parameters():
            parameter.requires_grad_()
        opt = torch.optim.SGD(network.parameters(), lr=0.01)
        x, y = batch(NETWORKS[kind][1], 2)
        cross_entropy(network(x), y).backward()
        opt.step()
    assert_equal(plain.state_dict(), reference.state_dict())
