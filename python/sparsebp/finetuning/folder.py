"""The folder of a run: its checkpoints, and in the end the weights and a report."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..data import Dataset, Preprocess
from ..files import remove_leftovers, write_atomically
from ..networks.pretrained import write_weights
from ..version import __version__
from . import checkpoint as checkpoints
from .checkpoint import Checkpoint
from .history import History
from .identity import Identity
from .memory import MemoryReport
from .settings import Settings
from .trained_on import KEY as TRAINED_ON
from .trained_on import TrainedOn

WEIGHTS = "model.safetensors"
REPORT = "report.json"


class RunFolder:
    """Where a run keeps what it needs to go on, and puts what it made. A context that keeps other runs out.

    Args:
        path: made if it is not there, and removed again if nothing came of it.
        dataset: the pictures, by which with the settings a checkpoint is recognised.
        settings: of the run.
        preprocess: how pictures become input.
        origin: where model, weights and pictures came from, in words; kept, and not compared.

    Attributes:
        changed: whether the opened checkpoint was made when there were other pictures.
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
        self._dataset = dataset
        self._classes = list(dataset.classes)
        self._preprocess = preprocess
        self._identity = Identity(settings, preprocess, dataset)
        # Of the origin what stands beside the weights: enough to test them on the same pictures.
        self._kept = ["model", "source"] + (["test_share", "seed", "split"] if dataset.split is not None else [])
        self.changed = False

    def __enter__(self) -> RunFolder:
        """Makes the folder and locks it, for as long as this process lives at most.

        Raises:
            FileExistsError: another run has it.
            OSError: it cannot be made or written to.
        """
        self._made = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.path))
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise FileExistsError(f"out: another run is at work in {self.path}") from error
        return self

    def __exit__(self, *error: object) -> None:
        if self._made:
            with suppress(OSError):
                self.path.rmdir()  # only if it is empty
        os.close(self._lock)

    def newest(self) -> Path | None:
        """Where the newest checkpoint is."""
        return checkpoints.latest(self.path)

    def open(self, resume: bool) -> Checkpoint | None:
        """Returns the newest checkpoint if the run is to go on and there is one.

        Raises:
            FileExistsError: there is a run already and ``resume`` is off.
            CheckpointError: the checkpoint is damaged or of another run.
        """
        newest = self.newest()
        if not resume and (newest is not None or (self.path / WEIGHTS).exists()):
            raise FileExistsError(f"out: {self.path} holds a run already; resume it, or choose another folder")
        checkpoints.clean(self.path)
        for name in (WEIGHTS, REPORT):
            remove_leftovers(self.path / name)
        if newest is None:
            return None
        found = checkpoints.read(newest)
        self.changed = not self._identity.compare(found, newest)
        return found

    def settle(self, settings: Settings) -> None:
        """The run's settings have become others, before its first checkpoint."""
        self._identity.settle(settings)

    def save(self, weights: Mapping[str, Any], training: Mapping[str, Any], facts: Mapping[str, Any]) -> Path:
        """Writes a checkpoint; raises OSError if it cannot be written."""
        facts = {"sparsebp": __version__, **self._identity.facts, "origin": self._origin, **facts}
        return checkpoints.write(self.path, Checkpoint(weights, training, facts, self.about()))

    def finish(
        self,
        model: nn.Module,
        history: History,
        memory: MemoryReport,
        learned: npt.NDArray[np.int64] | None,
        exchanged: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes the trained weights, for the original model class, and the report; returns the weights' file.

        Args:
            model: trained.
            history: of the run.
            memory: of the run.
            learned: keys of the pictures that were learned from.
            exchanged: between ranks, if there were several (:class:`sparsebp.distributed.Traffic`).
        """
        accuracy = history.accuracy
        trained_on = TrainedOn.of(self._dataset, learned)
        about = {
            **self.about(),
            "accuracy": accuracy,
            **({TRAINED_ON: trained_on.to_dict()} if trained_on is not None else {}),
        }
        write_weights(self.path / WEIGHTS, model, about)
        report = {
            "sparsebp": __version__,
            "torch": torch.__version__,
            **self._identity.facts,
            "origin": self._origin,
            "accuracy": accuracy,
            "test": None if history.last_test is None else history.last_test.summary(),
            "history": history.to_dict(),
            "memory": memory.to_dict(),
            **({"exchanged": dict(exchanged)} if exchanged is not None else {}),
        }
        write_atomically(self.path / REPORT, (json.dumps(report, indent=2) + "\n").encode())
        return self.path / WEIGHTS

    def about(self) -> dict[str, Any]:
        """What stands beside weights."""
        kept = {k: self._origin[k] for k in self._kept if k in self._origin}
        return {"classes": self._classes, "preprocess": self._preprocess.to_dict(), **kept}
