"""What sparsebp makes of one network: how much of it is native, what budgets train, how long a step takes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ..capture import graph as graphs
from ..capture.trainable_layers import listed
from ..errors import BudgetExceeded, UnsupportedModel
from ..planning.plan import Plan
from ..planning.timeline import block_names
from ..training.audit import audit
from ..training.convert import convert, min_budget, plan
from .candidates import Trainer
from .contenders import TorchModel, partial
from .environment import thread_count
from .steps import training_steps
from .timing import Contender, Effort, Quartiles, interleave

BUDGETS = ("256KB", "1MB")
EFFORT = Effort(7, 2.0)
UNTRAINED_RATE = 1e-9
"""A network that knows nothing diverges in a few larger steps."""


@dataclass(frozen=True)
class Trained:
    """What one budget trains.

    Attributes:
        budget: as it was asked for.
        layers: how many layers; 0 if nothing fits.
        first: the block of the first of them.
        update_ratio: share of the convolution weights that a step touches.
    """

    budget: str
    layers: int = 0
    first: str = ""
    update_ratio: float = 0.0


@dataclass(frozen=True)
class NetworkResult:
    """One network.

    Attributes:
        input_size: of one input, without the batch.
        layers: convolutions and linear layers of the network; 0 if it was refused before they were counted.
        native: those of them that can train.
        why: what only torch runs, or why all of it was refused; empty if everything is native.
        smallest: bytes of the smallest budget; None if nothing can train.
        trained: what each of the budgets trains.
        sparse_ms, torch_ms: a training step under the last of the budgets, or the smallest, and of torch that trains
            the same span densely.
        predicted, measured: bytes of that step's arena, by the plan and as they were counted.
        error: of the output in evaluation mode, relative to torch's.
    """

    input_size: tuple[int, ...]
    layers: int = 0
    native: int = 0
    why: str = ""
    smallest: int | None = None
    trained: tuple[Trained, ...] = field(default=())
    sparse_ms: Quartiles | None = None
    torch_ms: Quartiles | None = None
    predicted: int = 0
    measured: int = 0
    error: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(
    model: nn.Module, input_size: tuple[int, ...], budgets: Sequence[str] = BUDGETS, effort: Effort = EFFORT
) -> NetworkResult:
    """Plans, converts and times a network, batch 1, on one thread; ``model`` stays as it is.

    Args:
        model: with statistics that keep its activations in bounds.
        input_size: of one input, without the batch.
        budgets: smallest first.
        effort: how long the steps are timed.
    """
    settings: dict[str, Any] = {"input_size": input_size}
    try:
        smallest = min_budget(model, **settings)
    except UnsupportedModel as refusal:
        return _refused(model, input_size, str(refusal))
    plans = {budget: _plan(model, budget, settings) for budget in budgets}
    chosen = plans[budgets[-1]] or plan(model, smallest, **settings)
    reach = chosen.reach
    return NetworkResult(
        input_size,
        reach.layers,
        reach.trainable,
        listed(reach.foreign) if reach.trainable < reach.layers else "",
        smallest,
        tuple(_trained(budget, made) for budget, made in plans.items()),
        **_step(model, chosen, effort),
    )


def _refused(model: nn.Module, input_size: tuple[int, ...], why: str) -> NetworkResult:
    layers = sum(isinstance(m, (nn.modules.conv._ConvNd, nn.Linear)) for m in model.modules())
    return NetworkResult(input_size, layers, why=" ".join(why.split()))


def _plan(model: nn.Module, budget: str, settings: dict[str, Any]) -> Plan | None:
    try:
        return plan(model, budget, **settings)
    except BudgetExceeded:
        return None


def _trained(budget: str, made: Plan | None) -> Trained:
    if made is None:
        return Trained(budget)
    return Trained(budget, len(made.layers), block_names(made)[0], made.update_ratio)


def _step(model: nn.Module, made: Plan, effort: Effort) -> dict[str, Any]:
    """Converts a copy by the plan; what its step takes, beside torch's of the same span."""
    torch.manual_seed(0)
    x = torch.randn(1, *made.input_size)
    dense = copy.deepcopy(model).eval()
    with torch.no_grad():
        expected = tensors(dense(x))
    sparse = convert(copy.deepcopy(model), plan=made)
    with torch.no_grad():
        error = largest_error(tensors(sparse.eval()(x)), expected)
    targets = [torch.randn_like(t) for t in expected]
    held = audit(sparse.train(), x, targets, distance)
    graph = graphs.build(copy.deepcopy(model), made.input_size)
    trainers = (
        Trainer("sparsebp", "", sparse),
        Trainer("torch", "", _in_a_layout_that_it_takes(partial(model, graph, made.choice.begin), x)),
    )
    contenders = {}
    for trainer in trainers:
        for step in training_steps(trainer, x, targets, distance, UNTRAINED_RATE).values():
            contenders[trainer.name] = Contender(step)
    with thread_count(1):
        times = {name: Quartiles.of(ms) for name, ms in interleave(contenders, effort).items()}
    return {
        "error": error,
        "sparse_ms": times["sparsebp"],
        "torch_ms": times["torch"],
        "predicted": made.peak_bytes,
        "measured": held.arena_peak,
    }


def _in_a_layout_that_it_takes(model: TorchModel, x: torch.Tensor) -> TorchModel:
    """channels_last, which is the fastest, where the network's code has no view that needs the other order."""
    try:
        with torch.no_grad():
            model(x)
    except RuntimeError:
        model.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model


def tensors(output: Any) -> list[torch.Tensor]:
    """Those that a network returned, in order, whatever they are wrapped in."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]


def largest_error(got: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest relative error of several outputs."""
    return max(float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in zip(got, expected, strict=True))


def distance(output: Any, targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """A loss for outputs of any shape: their mean square distances from targets, summed."""
    pairs = zip(tensors(output), targets, strict=True)
    return torch.stack([(out - target).square().mean() for out, target in pairs]).sum()
