"""What the tests do with a converted model: make a small one, take a step, compare everything it holds."""

from __future__ import annotations

from typing import Any

import pytest
import sparsebp
import torch
from networks import batch, tiny_mobilenet
from sparsebp import SparseModel
from sparsebp.training.no_gradient import NoGradient
from torch import nn
from torch.nn.functional import cross_entropy

SIZE = (3, 16, 16)

#: Trains :func:`networks.tiny_mobilenet` at SIZE from its third block on, some channels of each layer.
BUDGET = 12 * 1024
#: Trains every channel of everything, and :func:`converted` sums its gradients.
LARGE = 1024 * 1024

budgets = pytest.mark.parametrize("budget", [BUDGET, LARGE], ids=["in-place", "sums"])


def converted(budget: int | str = BUDGET, net_seed: int = 0, **settings: Any) -> SparseModel:
    """A small MobileNetV2 in training mode, converted for images of SIZE."""
    settings.setdefault("input_size", SIZE)
    settings.setdefault("gradients", "sum" if budget == LARGE else "in_place")
    return sparsebp.convert(tiny_mobilenet(net_seed), budget, **settings).train()


def sgd(model: sparsebp.SparseModel, lr: float = 0.05, **numbers: float) -> sparsebp.optim.SGD:
    return sparsebp.optim.SGD(model, lr=lr, **numbers)


def step(model: SparseModel, opt: torch.optim.Optimizer, images: int | None = None, seed: int = 0) -> float:
    """One training step on random images, as a user's loop takes it; the loss."""
    size = model.plan.input_size
    x, y = batch(size, model.plan.batch_size if images is None else images, classes_of(model), seed)
    loss = cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    opt.zero_grad()
    return loss.item()


def classes_of(model: nn.Module) -> int:
    """Outputs of the last linear layer."""
    return [m.out_features for m in model.modules() if isinstance(m, nn.Linear)][-1]


def _grad_of(parameter: nn.Parameter) -> torch.Tensor | str | None:
    grad = parameter.grad
    return "refused" if isinstance(grad, NoGradient) else None if grad is None else grad.clone()


def everything(model: nn.Module) -> dict[str, Any]:
    """Weights, flags and, of a converted model, the state of training: what a refusal must not change."""
    held: dict[str, Any] = {f"value of {n}": t.detach().clone() for n, t in model.state_dict().items()}
    held |= {f"requires_grad of {n}": p.requires_grad for n, p in model.named_parameters()}
    held |= {f"grad of {n}": _grad_of(p) for n, p in model.named_parameters()}
    held |= {f"mode of {n or 'the model'}": m.training for n, m in model.named_modules()}
    if isinstance(model, SparseModel):
        held |= {f"state: {k}": v for k, v in model.engine.state().items()}
    return held


def assert_same(after: dict[str, Any], before: dict[str, Any]) -> None:
    """Equal to the bit; names the first thing that is not."""
    assert after.keys() == before.keys()
    for name, value in before.items():
        same = torch.equal(after[name], value) if isinstance(value, torch.Tensor) else after[name] == value
        assert same, f"{name} has changed"


def assert_trains(model: SparseModel, opt: torch.optim.Optimizer) -> None:
    """A step changes the weight of every planned layer and nothing outside the plan."""
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    step(model, opt, seed=99)
    after = dict(model.named_parameters())
    for layer in model.plan.layers:
        name = f"{layer.name}.weight"
        assert not torch.equal(after[name], before[name]), f"{name} did not train"
    trained = {id(p) for p in model.trained_parameters()}
    for name, value in before.items():
        if id(after[name]) not in trained:
            assert torch.equal(after[name], value), f"{name} is frozen and has changed"


def persistent(model: SparseModel) -> list[tuple[int, int]]:
    """Offset and bytes of what stays in the arena from one step to the next."""
    return [(offset, count) for _, offset, count in model.engine.program.persistent()]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    """Import it: on shared cores, torch's pool costs small networks more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
