"""Whole training steps of a network, and the bytes they hold."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from .. import graph as graphs
from ..audit import audit
from ..convert import convert
from ..moments import block_names
from ..optim import SGD
from ..plan import Plan
from .contenders import TorchModel, first_op, partial
from .timing import Contender, interleave, medians

LEARNING_RATE = 1e-6
"""The updates are really done, and what is timed stays the same network."""
BUDGET_PER_IMAGE = 256 * 1024
SECONDS = 15.0
"""After which no further round of a case starts: a slow machine gets fewer rounds, not a longer run."""


@dataclass(frozen=True)
class StepRequest:
    """What to measure.

    Attributes:
        height: pixels of the input.
        width: pixels of the input.
        batch: images of a step, all at once.
        budget: bytes for sparsebp.
        max_update_ratio: share of the convolution weights that sparsebp may touch.
        rounds: steps of each contender, at most.
        seconds: after which no further round starts.
        cuts: modules from which on one more dense torch model each trains.
    """

    height: int
    width: int
    batch: int = 1
    budget: int = BUDGET_PER_IMAGE
    max_update_ratio: float = 0.02
    rounds: int = 11
    seconds: float = SECONDS
    cuts: Sequence[str] = ()


@dataclass(frozen=True)
class StepResult:
    """One contender at one size and batch.

    Attributes:
        contender: its name.
        span: what it trains.
        ms: median milliseconds of a step.
        arena: training bytes inside sparsebp's arena, 0 for torch.
        outside: training bytes elsewhere, measured by ``sparsebp.audit``.
    """

    contender: str
    span: str
    ms: float
    arena: int
    outside: int


@dataclass(frozen=True)
class StepCase:
    """One request, and the rounds behind its medians; the first result is sparsebp's."""

    request: StepRequest
    rounds: int
    update_ratio: float
    results: tuple[StepResult, ...]

    def ratio(self, result: StepResult) -> float:
        """How many times as long as sparsebp's a step takes."""
        return result.ms / self.results[0].ms


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> Callable[[Any], None]:
    """The loop body that everybody writes, as something to time."""

    def step(_: Any) -> None:
        cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(original: nn.Module, request: StepRequest) -> StepCase:
    """Times a step of every contender, then measures the bytes of each; ``original`` stays as it is.

    Raises:
        BudgetExceeded: nothing fits at this size.
        ValueError: the model's output is not [N, classes], or it runs nothing in one of the cuts.
        AssertionError: the contenders do not compute the same network.
    """
    torch.manual_seed(0)
    size = (3, request.height, request.width)
    x = torch.randn(request.batch, *size).contiguous(memory_format=torch.channels_last)
    sparse = convert(
        copy.deepcopy(original),
        request.budget,
        input_size=size,
        batch_size=request.batch,
        max_update_ratio=request.max_update_ratio,
    )
    contenders = [("sparsebp", _span(sparse.plan), sparse), *_torch_models(original, sparse.plan, request)]
    y = torch.randint(_same_outputs(contenders, x), (request.batch,))
    steps = {}
    for name, _, model in contenders:
        parameters = (p for p in model.parameters() if p.requires_grad)
        optimizer = SGD(model, lr=LEARNING_RATE) if model is sparse else torch.optim.SGD(parameters, lr=LEARNING_RATE)
        steps[name] = Contender(training_step(model.train(), optimizer, x, y))
    times = interleave(steps, request.rounds, request.seconds)
    ms = medians(times)
    results = []
    for name, span, model in contenders:
        held = audit(model, x, y)
        results.append(StepResult(name, span, ms[name], held.arena_peak, held.outside_bytes))
    return StepCase(request, len(times["sparsebp"]), sparse.plan.update_ratio, tuple(results))


def _span(plan: Plan) -> str:
    return f"{len(plan.layers)} layers from {block_names(plan)[0]}"


def _torch_models(model: nn.Module, plan: Plan, request: StepRequest) -> Iterator[tuple[str, str, nn.Module]]:
    """torch that trains everything, what it would take of the same span, and from each of the cuts on."""
    yield "dense", "everything", TorchModel(model)
    graph = graphs.build(model, plan.input_size)
    begins = {first_op(graph, cut): cut for cut in request.cuts}
    begins.setdefault(plan.choice.begin, block_names(plan)[0])
    for begin, name in sorted(begins.items(), reverse=True):
        yield f"partial {name}", "everything from there", partial(model, graph, begin)


@torch.no_grad()
def _same_outputs(contenders: Sequence[tuple[str, str, nn.Module]], x: torch.Tensor) -> int:
    """Checks that all compute the same; how many classes there are."""
    outputs = {name: model.eval()(x) for name, _, model in contenders}
    dense = outputs["dense"]
    if not isinstance(dense, torch.Tensor) or dense.ndim != 2 or len(dense) != len(x):
        what = list(dense.shape) if isinstance(dense, torch.Tensor) else type(dense).__name__
        raise ValueError(f"model: expected an output [{len(x)}, classes] for a batch of {len(x)}, got {what}")
    for name, output in outputs.items():
        # The rounding of fifty layers, batch norms folded or not; another network is off by far more.
        error = float((output - dense).abs().max() / dense.abs().max())
        if not error <= 1e-3:
            raise AssertionError(f"{name}: its output differs from the dense model's by {error:.1e}")
    return dense.shape[1]
