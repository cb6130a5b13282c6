"""The folder of a run: its checkpoints, and in the end the weights and a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Dataset, Preprocess
from ..files import write_atomically
from ..model_weights import write_weights
from ..version import __version__
from . import checkpoint as checkpoints
from .checkpoint import Checkpoint, CheckpointError
from .history import History
from .memory import MemoryReport
from .settings import Settings

WEIGHTS = "model.safetensors"
REPORT = "report.json"


class RunFolder:
    """Where a run keeps what it needs to go on, and puts what it made.

    Args:
        path: made if it is not there.
        dataset: the pictures, by which a checkpoint is recognised.
        settings: likewise.
        preprocess: how pictures become input.
        origin: where model, weights and pictures came from, in words; kept, and not compared.
    """

    def __init__(
        self,
        path: Path,
        dataset: Dataset,
        settings: Settings,
        preprocess: Preprocess,
        origin: Mapping[str, str],
    ) -> None:
        self.path = path
        self._origin = dict(origin)
        self._classes = list(dataset.classes)
        self._preprocess = preprocess
        self._identity = {
            "settings": {**settings.to_dict(), "preprocess": preprocess.to_dict()},
            "data": {
                "classes": self._classes,
                "train": dataset.train.fingerprint(),
                "test": dataset.test.fingerprint(),
            },
        }

    def open(self, resume: bool) -> Checkpoint | None:
        """Makes the folder; returns the newest checkpoint if the run is to go on and there is one.

        Raises:
            FileExistsError: there is a run already and ``resume`` is off.
            CheckpointError: the checkpoint is damaged or of another run.
        """
        newest = checkpoints.latest(self.path)
        if not resume and (newest is not None or (self.path / WEIGHTS).exists()):
            raise FileExistsError(f"out: {self.path} holds a run already; resume it, or choose another folder")
        self.path.mkdir(parents=True, exist_ok=True)
        if newest is None:
            return None
        found = checkpoints.read(newest)
        self._compare(found.facts, newest)
        return found

    def save(self, weights: Mapping[str, Any], training: Mapping[str, Any], facts: Mapping[str, Any]) -> Path:
        """Writes a checkpoint; raises OSError if it cannot be written."""
        facts = {"sparsebp": __version__, **self._identity, "origin": self._origin, **facts}
        return checkpoints.write(self.path, Checkpoint(weights, training, facts))

    def finish(self, model: nn.Module, history: History, memory: MemoryReport) -> Path:
        """Writes the trained weights, for the original model class, and the report; returns the weights' file."""
        accuracy = history.epochs[-1].accuracy
        about = {
            "classes": self._classes,
            "preprocess": self._preprocess.to_dict(),
            "accuracy": accuracy,
            **({"model": self._origin["model"]} if "model" in self._origin else {}),
        }
        write_weights(self.path / WEIGHTS, model, about)
        report = {
            "sparsebp": __version__,
            "torch": torch.__version__,
            **self._identity,
            "origin": self._origin,
            "accuracy": accuracy,
            "history": history.to_dict(),
            "memory": memory.to_dict(),
        }
        write_atomically(self.path / REPORT, (json.dumps(report, indent=2) + "\n").encode())
        return self.path / WEIGHTS

    def _compare(self, facts: Mapping[str, Any], path: Path) -> None:
        own = json.loads(json.dumps(self._identity))
        for part, values in own.items():
            saved = facts.get(part)
            if not isinstance(saved, dict):
                raise CheckpointError(f"{path}: damaged, it has no {part}")
            for key, value in values.items():
                if saved.get(key) != value:
                    raise CheckpointError(_difference(path, part, key, saved.get(key), value))


def _difference(path: Path, part: str, key: str, saved: Any, now: Any) -> str:
    if part == "data":
        return f"{path}: it was made with other data: {key} differs"
    return f"{path}: it was made with {key}={saved}, now {key}={now}; give the same settings, or choose another folder"
