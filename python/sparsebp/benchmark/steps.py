"""Whole training steps of a network, and the bytes they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ..capture.precision import exact_float32
from ..optim import SGD
from ..training.audit import audit
from ..training.graphed_step import GraphedStep
from ..training.sparse_model import SparseModel
from .candidates import Candidates, StepRequest, Trainer
from .environment import thread_count, waiting
from .lower_bound import LowerBound
from .operation_count import count_operations
from .rates import Rates, Sample, Yardsticks
from .timing import Contender, Effort, Quartiles, interleave

LEARNING_RATE = 1e-6
"""The updates are really done, and what is timed stays the same network."""
SECONDS = 15.0
"""Long enough for eleven rounds of everything at 224 pixels and batch 8, on two cores of a server."""


@dataclass(frozen=True)
class StepResult:
    """One contender at one size, batch and number of threads.

    Attributes:
        contender: its name.
        span: what it trains.
        time: milliseconds of a step.
        arena: training bytes inside sparsebp's arena, 0 for torch.
        outside: training bytes elsewhere, measured by ``sparsebp.audit``.
    """

    contender: str
    span: str
    time: Quartiles
    arena: int
    outside: int

    @property
    def ms(self) -> float:
        """Median milliseconds of a step."""
        return self.time.median


@dataclass(frozen=True)
class StepCase:
    """One request with one number of threads; the first result is sparsebp's.

    Attributes:
        request: what was asked for.
        threads: that everybody had.
        isa: instruction set that sparsebp ran with.
        rounds: behind the medians.
        update_ratio: share of the convolution weights that a step of sparsebp touches.
        results: by contender.
        floor: of sparsebp's step; None unless the machine's rates were measured.
    """

    request: StepRequest
    threads: int
    isa: str
    rounds: int
    update_ratio: float
    results: tuple[StepResult, ...]
    floor: LowerBound | None = None

    def ratio(self, result: StepResult) -> float:
        """How many times as long as sparsebp's a step takes."""
        return result.ms / self.results[0].ms

    def to_dict(self) -> dict[str, Any]:
        """Plain data with what follows from it."""
        data = asdict(self)
        for result, found in zip(self.results, data["results"], strict=True):
            found.update(ms=result.ms, ratio=self.ratio(result))
        if self.floor is not None:
            data["floor"] |= self.floor.to_dict()
        return data


class Steps:
    """The training steps of a line-up, ready to be timed; the bytes of each are measured when it is made.

    Args:
        candidates: whose steps.
        before_each: called before every step, and not timed; what it raises ends the measurement.
    """

    def __init__(self, candidates: Candidates, before_each: Callable[[], object] = lambda: None) -> None:
        self._lineup = candidates
        self._trainers: dict[str, Trainer] = {}
        self._steps: dict[str, Contender] = {}
        for trainer in candidates.trainers:
            for name, step in training_steps(trainer, candidates.x, candidates.y).items():
                self._trainers[name] = trainer
                self._steps[name] = Contender(waiting(step, candidates.x.device), before_each)
        self._held = {t.name: audit(t.model, candidates.x, candidates.y) for t in candidates.trainers}

    def measure(self, threads: int, effort: Effort, yardsticks: Yardsticks | None = None) -> StepCase:
        """Times every contender's step with so many threads.

        Args:
            threads: of torch and of the native kernels.
            effort: how long.
            yardsticks: sampled after every round.
        """
        candidates, sparse = self._lineup, self._lineup.sparse
        samples: list[Sample] = []

        def sample() -> None:
            if yardsticks is not None:
                samples.append(yardsticks.sample())

        for trainer in candidates.trainers:
            trainer.model.train()
        with thread_count(threads), _tuned():
            times = interleave(self._steps, effort, sample)
        results = tuple(self._result(name, trainer, times[name]) for name, trainer in self._trainers.items())
        floor = None
        if samples:
            floor = LowerBound(
                count_operations(sparse.original, candidates.graph, sparse.plan), Rates.of(samples), results[0].ms
            )
        isa, rounds = sparse.engine.program.isa, len(times["sparsebp"])
        return StepCase(candidates.request, threads, isa, rounds, sparse.plan.update_ratio, results, floor)

    def _result(self, name: str, trainer: Trainer, times: Sequence[float]) -> StepResult:
        held = self._held[trainer.name]
        return StepResult(name, trainer.span, Quartiles.of(times), held.arena_peak, held.outside_bytes)


def training_steps(
    trainer: Trainer,
    x: torch.Tensor,
    y: Any,
    loss: Callable[[Any, Any], torch.Tensor] = cross_entropy,
    rate: float = LEARNING_RATE,
) -> dict[str, Callable[[Any], Any]]:
    """By contender what is timed: the loop body that everybody writes and, on a GPU, the same as one CUDA graph."""
    model = trainer.model.train()
    optimizer: torch.optim.Optimizer
    if isinstance(model, SparseModel):
        optimizer = SGD(model, lr=rate)
    else:
        optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=rate)

    def step(_: Any) -> None:
        loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    if x.device.type == "cpu":
        return {trainer.name: step}
    if isinstance(model, SparseModel):
        assert isinstance(optimizer, SGD)
        graphed = GraphedStep(model, optimizer, loss, warm_up=1)
        for _ in range(2):  # without a graph, then with it
            graphed(x, y)
        return {trainer.name: step, f"{trainer.name}, one graph": lambda _: graphed(x, y)}
    return {trainer.name: step, f"{trainer.name}, one graph": _graph(step, x.device)}


def _graph(step: Callable[[Any], None], device: torch.device) -> Callable[[Any], None]:
    """A step of plain torch as one CUDA graph."""
    with _tuned(), torch.cuda.device(device):
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):  # as torch wants it: a few steps on a stream of their own come first
            for _ in range(3):
                step(None)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            step(None)
    return lambda _: graph.replay()


@contextmanager
def _tuned() -> Iterator[None]:
    """Inside, cuDNN times its algorithms before it chooses one, all in float32."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with exact_float32():
            yield
    finally:
        torch.backends.cudnn.benchmark = before
