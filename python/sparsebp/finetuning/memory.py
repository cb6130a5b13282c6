"""The bytes of a run: what was planned, what was measured, what a dense step would take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..devices import empty_cache, own_randomness
from ..training.audit import audit
from ..training.sparse_model import SparseModel


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of one training step.

    Attributes:
        budget: of the arena.
        predicted: the plan's peak.
        measured: the arena's high-water mark over the whole run.
        outside: what a step holds outside the arena, by :func:`sparsebp.audit`.
        dense: what a step that trains every weight holds in plain PyTorch, measured the same way; None if it
            was not asked for, or torch cannot do one.
        weights: parameters and buffers, which training does not copy.
        workspace: inference activations; not training memory, and none where the budget covers the whole step.
    """

    budget: int
    predicted: int
    measured: int
    outside: int
    dense: int | None
    weights: int
    workspace: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def dense_step_bytes(model: nn.Module, size: tuple[int, int], batch: int) -> int | None:
    """What forward and backward of a model hold in plain torch; the model stays as it is.

    None where torch cannot do that: memory is short, a batch norm has a single value, or the model does not take
    such pictures at all, which ``convert`` then says in its own words.
    """
    with own_randomness(model):
        try:
            return audit(model, *_sample(model, size, batch)).outside_bytes
        except Exception:  # whatever a model may raise: a comparison should end no run
            return None
        finally:
            for device in {p.device for p in model.parameters()}:
                empty_cache(device)


def measure(model: SparseModel, dense: int | None, earlier_peak: int = 0) -> MemoryReport:
    """The report on a model that was trained, here or, with ``earlier_peak``, before the run was resumed."""
    plan, measured = model.plan, max(earlier_peak, model.arena.peak)
    found = audit(model, *_sample(model, plan.input_size[1:], plan.batch_size))
    tensors = [*model.parameters(), *model.buffers()]
    return MemoryReport(
        budget=model.arena.capacity,
        predicted=plan.peak_bytes,
        measured=measured,
        outside=found.outside_bytes,
        dense=dense,
        weights=sum(t.numel() * t.element_size() for t in tensors),
        workspace=model.workspace.capacity,
    )


def _sample(model: nn.Module, size: tuple[int, ...], batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of the right shape: bytes do not depend on what a picture shows."""
    some = next(model.parameters())
    images = torch.zeros(batch, 3, *size, dtype=some.dtype, device=some.device)
    return images, torch.zeros(batch, dtype=torch.int64, device=some.device)
