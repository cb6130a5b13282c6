"""Converting the model of a run: planned once, at its beginning; afterwards its checkpoint says how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from ..errors import BudgetExceeded
from ..planning.plan import Plan
from ..training.convert import convert, convert_as, restore
from ..training.convert import plan as make_plan
from ..training.sparse_model import SparseModel
from .checkpoint import Checkpoint, CheckpointError
from .settings import Settings


def converted(model: nn.Module, settings: Settings, checkpoint: Checkpoint | None) -> SparseModel:
    """``model`` as the run that wrote ``checkpoint`` trains it; without one, as this sparsebp plans it.

    Raises:
        CheckpointError: the checkpoint was made under a plan that this model or this sparsebp cannot have.
        BudgetExceeded, UnsupportedModel, TypeError, ValueError: as :func:`sparsebp.convert`.
    """
    if checkpoint is None:
        return convert(model, settings.budget, **settings.conversion())
    if "choice" not in checkpoint.facts and "plan" in checkpoint.facts:
        return _as_version_2(model, settings, checkpoint)
    choice = checkpoint.facts.get("choice")
    if not isinstance(choice, Mapping):
        raise CheckpointError("resume: the checkpoint is damaged, it has no choice of layers and channels")
    try:
        return convert_as(model, choice, _keywords(settings))
    except (ValueError, BudgetExceeded) as error:
        raise CheckpointError(
            f"resume: the checkpoint was made under another plan than this model can have: {error}"
        ) from error


def _keywords(settings: Settings) -> dict[str, Any]:
    return {"budget": settings.budget, **settings.conversion()}


def _as_version_2(model: nn.Module, settings: Settings, checkpoint: Checkpoint) -> SparseModel:
    """Version 2 kept a digest of the plan, to be made again; sums were on where bytes were left for them.

    Dropout had the seed of the sampler.
    """
    made = make_plan(model, settings.budget, **{**settings.conversion(), "gradients": "in_place"})
    choice = replace(made.choice, sums="arena.sums" in checkpoint.training)
    sparse = convert_as(model, choice, _keywords(settings))
    if checkpoint.facts["plan"] != _fingerprint(sparse.plan):
        written = checkpoint.facts.get("sparsebp")
        restore(sparse)
        raise CheckpointError(
            "resume: the checkpoint was made under another plan than this sparsebp makes for these settings, and its "
            f"older format (version {written} wrote it) does not hold the plan itself"
        )
    sparse.engine.seed = sparse.engine.sampler.seed or 0
    return sparse


#: What version 2 knew of a plan.
_KNOWN = (
    "layers",
    "budget",
    "peak_bytes",
    "inference_bytes",
    "weights_per_step",
    "conv_weights",
    "input_size",
    "batch_size",
    "itemsize",
    "momentum",
    "normalise",
    "gradient_sums",
    "update_ratio",
    "peak_by_category",
)


def _fingerprint(plan: Plan) -> str:
    """What version 2 kept of a plan: a digest of all it says, down to the offset of each buffer."""
    said = plan.to_dict()
    buffers = [
        {
            "name": f"energy{b.op}" if b.role == "squared norms" else b.name,
            "category": b.category,
            "bytes": b.bytes,
            "offset": b.offset,
            "begin": b.begin,
            "end": b.end,
        }
        for b in plan.buffers
    ]
    text = json.dumps([{key: said[key] for key in _KNOWN}, buffers], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
