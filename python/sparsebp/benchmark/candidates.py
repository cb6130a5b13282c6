"""One network, converted by sparsebp and in plain torch, on one batch: who is timed against whom."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..capture import graph as graphs
from ..capture.graph import Graph
from ..capture.precision import exact_float32
from ..planning.plan import Plan
from ..planning.timeline import block_names
from ..training.convert import convert
from ..training.sparse_model import SparseModel
from .contenders import TorchModel, first_op, fused, partial

BUDGET_PER_IMAGE = 256 * 1024


@dataclass(frozen=True)
class StepRequest:
    """What to measure.

    Attributes:
        height: pixels of the input.
        width: pixels of the input.
        batch: images of a step, all at once.
        budget: bytes for sparsebp.
        max_update_ratio: share of the convolution weights that sparsebp may touch.
        cuts: modules from which on one more dense torch model each trains.
        device: where all of them run.
    """

    height: int
    width: int
    batch: int = 1
    budget: int = BUDGET_PER_IMAGE
    max_update_ratio: float = 0.02
    cuts: Sequence[str] = ()
    device: str = "cpu"

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return 3, self.height, self.width


@dataclass(frozen=True)
class Trainer:
    """One of those who train.

    Attributes:
        name: ``sparsebp``, ``dense`` or ``partial MODULE``.
        span: what it trains.
        model: ready to train.
    """

    name: str
    span: str
    model: nn.Module


@dataclass(frozen=True)
class Candidates:
    """All that run one request, checked to compute the same.

    Attributes:
        request: what was asked for.
        graph: of the original network.
        sparse: the network as sparsebp trains it; also the first of ``trainers``.
        trainers: sparsebp, then plain torch.
        fused: plain torch that only infers.
        x: images [N, C, H, W].
        y: classes, int64 [N].
    """

    request: StepRequest
    graph: Graph
    sparse: SparseModel
    trainers: tuple[Trainer, ...]
    fused: TorchModel
    x: torch.Tensor
    y: torch.Tensor


def prepare_candidates(original: nn.Module, request: StepRequest) -> Candidates:
    """Converts a copy of ``original``, and makes torch's copies of it.

    Raises:
        BudgetExceeded: nothing fits at this size.
        ValueError: the model's output is not [N, classes], or it runs nothing in one of the cuts.
        AssertionError: they do not compute the same network.
    """
    torch.manual_seed(0)
    original = copy.deepcopy(original).to(request.device)
    x = torch.randn(request.batch, *request.input_size).contiguous(memory_format=torch.channels_last)
    x = x.to(request.device)
    sparse = convert(
        copy.deepcopy(original),
        request.budget,
        input_size=request.input_size,
        batch_size=request.batch,
        max_update_ratio=request.max_update_ratio,
    )
    graph = graphs.build(original, request.input_size)
    if graph.tail is not None:
        raise ValueError(
            f"model: expected one that returns logits, [N, classes]; torch ends it with {graph.tail.listed}"
        )
    span = f"{len(sparse.plan.layers)} layers from {block_names(sparse.plan)[0]}"
    trainers = (Trainer("sparsebp", span, sparse), *_torch_trainers(original, graph, sparse.plan, request.cuts))
    inference = fused(original, graph)
    classes = _same_outputs({**{t.name: t.model for t in trainers}, "fused": inference}, x)
    y = torch.randint(classes, (request.batch,)).to(request.device)
    return Candidates(request, graph, sparse, trainers, inference, x, y)


def _torch_trainers(model: nn.Module, graph: Graph, plan: Plan, cuts: Sequence[str]) -> Iterator[Trainer]:
    """torch that trains everything, what it would take of the same span, and from each of the cuts on."""
    yield Trainer("dense", "everything", TorchModel(model))
    begins = {first_op(graph, cut): cut for cut in cuts}
    begins.setdefault(plan.choice.begin, block_names(plan)[0])
    for begin, name in sorted(begins.items(), reverse=True):
        yield Trainer(f"partial {name}", "everything from there", partial(model, graph, begin))


@torch.no_grad()
def _same_outputs(models: dict[str, nn.Module], x: torch.Tensor) -> int:
    """Checks that all compute the same; how many classes there are."""
    with exact_float32():
        outputs = {name: model.eval()(x) for name, model in models.items()}
    dense = outputs["dense"]
    if not isinstance(dense, torch.Tensor) or dense.ndim != 2 or len(dense) != len(x):
        what = list(dense.shape) if isinstance(dense, torch.Tensor) else type(dense).__name__
        raise ValueError(f"model: expected an output [{len(x)}, classes] for a batch of {len(x)}, got {what}")
    for name, output in outputs.items():
        # The rounding of fifty layers, batch norms folded or not; another network is off by far more.
        error = float((output - dense).abs().max() / dense.abs().max().clamp(min=1e-30))  # a new classifier may be 0
        if not error <= 1e-3:
            raise AssertionError(f"{name}: its output differs from the dense model's by {error:.1e}")
    return dense.shape[1]
