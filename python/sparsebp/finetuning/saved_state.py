"""What a checkpoint holds of a model and its engine, as these take it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..training.engine_state import as_tensor
from ..training.sparse_model import SparseModel
from .checkpoint import Checkpoint

ARENA = "arena."
"""Before the names of the arena's regions."""


def saved_state(model: SparseModel) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A checkpoint's tensors of the engine, and its counters; :func:`engine_state` gives back what they were."""
    state = model.engine.state()
    regions = state.pop("regions")
    return {ARENA + name: as_tensor(data) for name, data in regions.items()}, state


def engine_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """What :meth:`sparsebp.training.engine.Engine.load_state` takes; raises KeyError or TypeError if it is damaged."""
    regions = {k.removeprefix(ARENA): t for k, t in checkpoint.training.items() if k.startswith(ARENA)}
    counters = _counters(checkpoint.facts["counters"])
    return {"regions": {k: t.numpy().tobytes() for k, t in regions.items()}, **counters}


def _counters(saved: Mapping[str, Any]) -> dict[str, Any]:
    """As an engine has them now; version 2 of the format called one otherwise, and lacked one."""
    counters = {"pending": False, **saved}
    if "_due" in counters:
        counters["due"] = counters.pop("_due")
    return counters


def check_weights(saved: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError unless they have the same names and shapes: loading would stop half-way."""
    shapes = [{name: list(t.shape) for name, t in weights.items()} for weights in (saved, own)]
    for name in shapes[0] | shapes[1]:
        was, here = (known.get(name) for known in shapes)
        if was != here:
            raise ValueError(f"weights: {name} was {was}, in this model it is {here}")
