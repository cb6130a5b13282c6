"""Whole fine-tuning runs that ranks share, as their work in tests, and what is compared of them."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

import runs
import sparsebp
import torch
from sparsebp.distributed import Ranks
from sparsebp.finetuning import checkpoint

RATES = {"lr": 0.01, "bias_lr": 0.01, "classifier_lr": 0.02}
"""So small that hardly a mask flips by rounding, which would send two runs apart."""
SETTINGS: dict[str, Any] = {"budget": 64 * 1024, "gradients": "sum", **RATES}
DATA = {"whole": runs.dataset, "torn": runs.torn, "uneven": runs.uneven}


def shared(
    ranks: Ranks | None,
    kept: dict[str, Any],
    out: Path | None,
    data: str = "whole",
    dropout: float = 0.0,
    signals: tuple[int, int] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A run by all ranks, or by this process alone.

    Args:
        ranks: that share it.
        kept: nothing.
        out: its folder.
        data: name of the pictures.
        dropout: of the network.
        signals: a rank, and after which step it gets a SIGTERM.
        changes: to the settings.
    """
    log = runs.Log()
    observers = [log]
    if signals is not None and ranks is not None and ranks.rank == signals[0]:
        observers.append(runs.signalled("stepped", signals[1], signal.SIGTERM))
    network = runs.network(dropout=dropout)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    with contextlib.suppress(sparsebp.Interrupted) if signals is not None else contextlib.nullcontext():
        result = runs.finetune(
            out, network, DATA[data](), ranks=ranks, observer=Both(observers), **{**SETTINGS, **changes}
        )
        return {
            "before": before,
            "after": {name: t.clone() for name, t in result.model.state_dict().items()},
            "history": result.history.to_dict(),
            "memory": (result.memory.predicted, result.memory.measured),
            "exchanged": result.exchanged,
            "wrote": result.weights is not None,
            "skipped": sorted(event[1] for event in log.only("skipped")),
        }
    return {"stopped": [event[1:] for event in log.only("stepped")][-1]}


class Both(sparsebp.Observer):
    """Tells several observers."""

    def __init__(self, observers: list[sparsebp.Observer]) -> None:
        for name in (name for name in dir(sparsebp.Observer) if not name.startswith("_")):
            setattr(self, name, lambda *told, _name=name: [getattr(one, _name)(*told) for one in observers] and None)


def update_sets(out: Path) -> dict[str, torch.Tensor]:
    """What the last checkpoint of a run says of its draws: the channels of the last step, and those visited."""
    newest = checkpoint.latest(out)
    assert newest is not None
    read = checkpoint.read(newest)
    counters = {f"counter {name}": torch.tensor(int(value)) for name, value in read.facts["counters"].items()}
    return {**counters, **{name: read.training[f"arena.{name}"] for name in ("indices", "visited")}}
