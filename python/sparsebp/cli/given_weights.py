"""Weights that a command is given, which may be the folder of a run."""

from __future__ import annotations

from pathlib import Path

from ..finetuning import checkpoint
from ..finetuning.loading import weights_file
from .console import err


def given_weights(weights: Path) -> Path:
    """The file of weights, or of what a run has of them; says on standard error if that run has not ended.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    file = weights_file(weights)
    if weights.expanduser().is_dir() and file.name == checkpoint.WEIGHTS:
        err.print(f"{weights}: this run has not ended, and {file.parent.name} is taken; sparsebp finetune --resume "
                  f"--out {weights} goes on")  # fmt: skip
    return file
