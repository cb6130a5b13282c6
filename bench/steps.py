"""Whole training steps of MobileNetV2, and the bytes they hold."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sparsebp
import torch
from timing import Contender, interleave, medians
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import fuse_conv_bn_eval

CLASSES = 10
LEARNING_RATE = 1e-6
"""The updates are really done, and what is timed stays the same network."""
BUDGET_PER_IMAGE = 256 * 1024
SECONDS = 15.0
"""After which no further round of a case starts: a slow machine gets fewer rounds, not a longer run."""
USUAL_SPLIT = 11
"""The block from which a user trains who has not been told a better one."""


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
    """One size and batch, and the rounds behind its medians; the first result is sparsebp's."""

    size: int
    batch: int
    rounds: int
    budget: int
    update_ratio: float
    results: tuple[StepResult, ...]

    def ratio(self, result: StepResult) -> float:
        """How many times as long as sparsebp's a step takes."""
        return result.ms / self.results[0].ms


class TorchMobileNet(nn.Module):
    """A copy of ``model`` that plain torch trains from block ``start`` on, with frozen batch-norm statistics.

    Args:
        model: a :class:`sparsebp.models.MobileNetV2`; unchanged.
        start: first trained child of ``features``; what is before it runs under ``no_grad``.
        fuse: fold the batch norms into the convolutions.
    """

    def __init__(self, model: nn.Module, start: int = 0, fuse: bool = False) -> None:
        super().__init__()
        model = copy.deepcopy(model).eval().to(memory_format=torch.channels_last)
        if fuse:
            fuse_batch_norms(model)
        self.prefix = model.features[:start].requires_grad_(False)
        self.span = nn.Sequential(*model.features[start:], nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.classifier)
        self.train()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] -> [N, classes]."""
        with torch.no_grad():
            x = self.prefix(x)
        return self.span(x)

    def train(self, mode: bool = True) -> TorchMobileNet:
        """As in torch, but batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def fuse_batch_norms(model: nn.Module) -> None:
    """Folds every batch norm into the convolution before it, in place."""
    for sequence in [m for m in model.modules() if isinstance(m, nn.Sequential)]:
        for i in reversed(range(1, len(sequence))):
            if isinstance(sequence[i], nn.BatchNorm2d):
                sequence[i - 1] = fuse_conv_bn_eval(sequence[i - 1], sequence[i])
                del sequence[i]


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> Callable[[Any], None]:
    """The loop body that everybody writes, as something to time."""

    def step(_: Any) -> None:
        cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _torch_models(model: nn.Module, block: int) -> Iterator[tuple[str, str, nn.Module]]:
    yield "dense", "everything", TorchMobileNet(model)
    for start in sorted({USUAL_SPLIT, block}, reverse=True):
        yield f"partial {start}", f"features.{start} to the end", TorchMobileNet(model, start, fuse=True)


def measure(size: int, batch: int, ratio: float, rounds: int) -> StepCase:
    """Times a step of every contender, then measures the bytes of each.

    Raises:
        sparsebp.BudgetExceeded: nothing fits at this size.
        AssertionError: the contenders do not compute the same network.
    """
    torch.manual_seed(0)
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    y = torch.randint(CLASSES, (batch,))
    budget = batch * BUDGET_PER_IMAGE
    original = sparsebp.models.mobilenet_v2(CLASSES)
    plan_of = {"input_size": (3, size, size), "batch_size": batch, "max_update_ratio": ratio}
    sparse = sparsebp.convert(copy.deepcopy(original), budget, **plan_of)
    # A block is one op, so the span begins with the block of the first layer that trains.
    block = int(sparse.plan.layers[0].name.split(".")[1])
    spans = {"sparsebp": f"features.{block} to the end, {len(sparse.plan.layers)} layers"}
    models: dict[str, nn.Module] = {"sparsebp": sparse.train()}
    for name, span, model in _torch_models(original, block):
        models[name], spans[name] = model, span
    _check(models, x)
    optimizers = {
        name: sparsebp.optim.SGD(model, lr=LEARNING_RATE)
        if model is sparse
        else torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=LEARNING_RATE)
        for name, model in models.items()
    }
    steps = {name: Contender(training_step(models[name], optimizers[name], x, y)) for name in models}
    times = interleave(steps, rounds, SECONDS)
    ms = medians(times)
    results = []
    for name, model in models.items():
        audit = sparsebp.audit(model, x, y)
        results.append(StepResult(name, spans[name], ms[name], audit.arena_peak, audit.outside_bytes))
    return StepCase(size, batch, len(times["sparsebp"]), budget, sparse.plan.update_ratio, tuple(results))


def _check(models: dict[str, nn.Module], x: torch.Tensor) -> None:
    with torch.no_grad():
        outputs = {name: model.eval()(x) for name, model in models.items()}
    for model in models.values():
        model.train()
    dense = outputs["dense"]
    for name, output in outputs.items():
        # The rounding of fifty layers, batch norms folded or not; another network is off by far more.
        error = float((output - dense).abs().max() / dense.abs().max())
        if error > 1e-3:
            raise AssertionError(f"{name}: its output differs from the dense model's by {error:.1e}")
