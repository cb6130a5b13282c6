"""Inference of a converted network beside torch at its best: time, and bytes of working memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..training.audit import LiveBytes
from .candidates import Candidates, StepRequest
from .environment import thread_count, waiting
from .timing import Contender, Effort, Quartiles, interleave


@dataclass(frozen=True)
class InferenceResult:
    """One contender at one size, batch and number of threads.

    Attributes:
        contender: its name.
        time: milliseconds of a forward pass.
        workspace: bytes that sparsebp planned for activations, 0 for torch.
        tensors: most bytes of torch's tensors alive at any moment, less parameters, buffers and the images.
    """

    contender: str
    time: Quartiles
    workspace: int
    tensors: int

    @property
    def ms(self) -> float:
        """Median milliseconds of a forward pass."""
        return self.time.median


@dataclass(frozen=True)
class InferenceCase:
    """One request with one number of threads; the first result is sparsebp's."""

    request: StepRequest
    threads: int
    rounds: int
    results: tuple[InferenceResult, ...]

    def ratio(self, result: InferenceResult) -> float:
        """How many times as long as sparsebp it takes."""
        return result.ms / self.results[0].ms

    def to_dict(self) -> dict[str, Any]:
        """Plain data with what follows from it."""
        data = asdict(self)
        for result, found in zip(self.results, data["results"], strict=True):
            found.update(ms=result.ms, ratio=self.ratio(result))
        return data


class Inference:
    """The forward passes of a line-up, ready to be timed; the bytes of each are measured when it is made."""

    def __init__(self, candidates: Candidates) -> None:
        self._lineup = candidates
        self._models: dict[str, nn.Module] = {"sparsebp": candidates.sparse, "torch": candidates.fused}
        self._workspace = {"sparsebp": candidates.sparse.workspace.capacity, "torch": 0}
        self._tensors = {name: live_bytes(model.eval(), candidates.x) for name, model in self._models.items()}

    def measure(self, threads: int, effort: Effort) -> InferenceCase:
        """Times every contender's forward pass with so many threads."""
        x = self._lineup.x
        passes = {name: Contender(waiting(model.eval(), x.device), lambda: x) for name, model in self._models.items()}
        with thread_count(threads), torch.no_grad():
            times = interleave(passes, effort)
        results = tuple(
            InferenceResult(name, Quartiles.of(ms), self._workspace[name], self._tensors[name])
            for name, ms in times.items()
        )
        return InferenceCase(self._lineup.request, threads, len(times["sparsebp"]), results)


@torch.no_grad()
def live_bytes(model: nn.Module, x: torch.Tensor) -> int:
    """The most bytes of tensors alive at any moment of a forward pass, less parameters, buffers and ``x``."""
    counter = LiveBytes([*model.parameters(), *model.buffers(), x], range(0))
    counter.peak = 0
    with counter:
        model(x)
    return counter.peak
