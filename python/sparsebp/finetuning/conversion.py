"""Converting the model of a run: planned once, at its beginning; afterwards its checkpoint holds the plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import BudgetExceeded
from ..planning.plan import Plan
from ..planning.plan_parts import OF_INFERENCE
from ..training.convert import convert, plan_as_chosen
from ..training.convert import plan as make_plan
from ..training.sparse_model import SparseModel
from .checkpoint import Checkpoint, CheckpointError
from .settings import Settings


def converted(
    model: nn.Module, settings: Settings, checkpoint: Checkpoint | None, plan: Plan | None = None
) -> SparseModel:
    """``model`` as the run that wrote ``checkpoint`` trains it; without one, by ``plan`` or as this sparsebp plans it.

    Raises:
        CheckpointError: the checkpoint was made under a plan that this model or this sparsebp cannot have.
        BudgetExceeded, UnsupportedModel, TypeError, ValueError: as :func:`sparsebp.convert`.
    """
    if checkpoint is None:
        if plan is None:
            return convert(model, settings.budget, **settings.conversion())
        return convert(model, plan=plan, sampler=settings.sampler)
    try:
        kept = kept_plan(model, settings, checkpoint.facts, "arena.sums" in checkpoint.training)
        if plan is not None and plan != kept:
            raise ValueError("the run has another one than the plan that was given; leave that out to go on")
        return convert(model, plan=kept, sampler=settings.sampler)
    except CheckpointError:
        raise
    except (ValueError, BudgetExceeded) as error:
        raise CheckpointError(
            f"resume: the checkpoint was made under another plan than this model can have: {error}"
        ) from error


def kept_plan(model: nn.Module, settings: Settings, facts: Mapping[str, Any], sums: bool) -> Plan:
    """The plan of a checkpoint, whichever format it has.

    Args:
        model: of the run.
        settings: likewise.
        facts: of the checkpoint.
        sums: whether it holds gradient sums.

    Raises:
        CheckpointError: there is none, or it cannot be made again.
        ValueError: it is damaged, or made for another network.
    """
    plan, choice = facts.get("plan"), facts.get("choice")
    if isinstance(plan, Mapping) and plan.get("version") in (1, 2, 3):  # its choice says all that matters
        choice = plan.get("choice")
    elif isinstance(plan, Mapping):
        return Plan.from_dict(plan)
    if isinstance(choice, Mapping):  # version 3
        gradients = "sum" if choice.get("sums") else "in_place"
        return plan_as_chosen(model, choice, settings.budget, **{**settings.conversion(), "gradients": gradients})
    if not isinstance(plan, str):
        raise CheckpointError("resume: the checkpoint is damaged, it has no plan")
    return _of_version_2(model, settings, facts, sums)


def _of_version_2(model: nn.Module, settings: Settings, facts: Mapping[str, Any], sums: bool) -> Plan:
    """Version 2 kept a digest of the plan, to be made again; sums were on where bytes were left for them.

    Dropout had the seed of the sampler, and the gradient of the loss was not in the arena.
    """
    made = make_plan(model, settings.budget, **{**settings.conversion(), "gradients": "in_place"})
    choice = {**made.choice.named(made.network), "sums": sums, "loss": False}
    how = {"gradients": "sum" if sums else "in_place", "seed": made.request.sampler.seed}
    again = plan_as_chosen(model, choice, settings.budget, **{**settings.conversion(), **how})
    if facts["plan"] != _fingerprint(again):
        raise CheckpointError(
            "resume: the checkpoint was made under another plan than this sparsebp makes for these settings, and its "
            f"older format (version {facts.get('sparsebp')} wrote it) does not hold the plan itself"
        )
    return again


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
    said["peak_by_category"] = {c: n for c, n in said["peak_by_category"].items() if c not in OF_INFERENCE}
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
