"""Weights after some of a run's epochs, a file each, so that it may end with the best or with a mean of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ..files import remove_leftovers, write_atomically
from ..networks.weight_files import as_safetensors
from .checkpoint import CheckpointError
from .history import Epoch, History, Kept
from .settings import Settings

FOLDER = "epochs"
"""Of the files, beside the checkpoints."""


def best_epoch(history: History, settings: Settings) -> Epoch:
    """The epoch with the highest accuracy, of equal ones the later; by the mean of the classes' where these are
    balanced."""
    return max(history.epochs, key=lambda epoch: (worth(epoch, settings), epoch.number))


def worth(tested: Epoch | Kept, settings: Settings) -> float:
    """What weights are judged by."""
    return tested.accuracy if settings.balance == "none" else tested.balanced


def without_a_better_one(history: History, settings: Settings) -> int:
    """Epochs since the first that none is better than."""
    best = max(worth(epoch, settings) for epoch in history.epochs)
    first = next(epoch.number for epoch in history.epochs if worth(epoch, settings) == best)
    return history.epochs[-1].number - first


class KeptEpochs:
    """The files of the epochs that a run may still end with.

    An epoch's file is written before the checkpoint that knows of the epoch, and what is no longer wanted goes after
    it: a run that is killed in between finds all that its checkpoint wants, or writes the same again.

    Args:
        folder: made when the first is written.
        settings: of the run.
        about: what stands beside the weights.
    """

    def __init__(self, folder: Path, settings: Settings, about: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = settings
        self._about = about

    @staticmethod
    def needed(settings: Settings) -> bool:
        """Whether a run with these settings may end with anything but its last epoch."""
        return settings.keep == "best" or settings.average > 1

    def wanted(self, history: History) -> set[int]:
        """Numbers of the epochs whose weights matter, as far as the run is."""
        best = {best_epoch(history, self._settings).number} if self._settings.keep == "best" else set()
        return best | set(self.averaged(history))

    def averaged(self, history: History) -> list[int]:
        """Numbers of the epochs whose weights a run that ends now would average; none if that is a single one."""
        count = self._settings.average
        return [epoch.number for epoch in history.epochs[-count:]] if count > 1 else []

    def add(self, history: History, weights: Mapping[str, torch.Tensor]) -> None:
        """Writes the weights after the last epoch, if they matter."""
        number = history.epochs[-1].number
        if number in self.wanted(history):
            self._folder.mkdir(exist_ok=True)
            write_atomically(self._file(number), as_safetensors(weights, self._about))

    def prune(self, history: History) -> None:
        """Removes what does not matter any more, and what a kill left."""
        files = {self._file(number) for number in self.wanted(history)}
        for number in range(1, history.epochs[-1].number + 1):
            remove_leftovers(self._file(number))
        for file in set(self._folder.glob("epoch-*.safetensors")) - files:
            file.unlink(missing_ok=True)

    def read(self, number: int) -> dict[str, torch.Tensor]:
        """The weights after an epoch.

        Raises:
            CheckpointError: their file is missing or damaged.
        """
        return self.mean([number])

    def mean(self, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        """The mean of the weights after some epochs, added up tensor by tensor; of whole numbers the last.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        found: dict[str, torch.Tensor] = {}
        files = [self._file(number) for number in numbers]
        try:
            with safetensors.safe_open(files[-1], "pt") as last:
                names = list(last.keys())
            for name in names:
                total, kind = torch.zeros((), dtype=torch.float64), torch.float32
                for file in files:
                    with safetensors.safe_open(file, "pt") as tensors:
                        one = tensors.get_tensor(name)
                    kind, total = one.dtype, total + one.double() if one.is_floating_point() else one * len(files)
                found[name] = (total / len(files)).to(kind)
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{self._folder}: the weights of an epoch cannot be read: {error}") from error
        return found

    def _file(self, number: int) -> Path:
        return self._folder / f"epoch-{number:04d}.safetensors"
