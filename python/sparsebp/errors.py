"""The exceptions that sparsebp raises besides Python's own."""

from __future__ import annotations

from pathlib import Path


class BudgetExceeded(MemoryError):  # noqa: N818 - the public name
    """A plan or a request needs more bytes than the budget holds.

    Attributes:
        required: bytes that would have been enough.
        budget: bytes there are.
    """

    def __init__(self, message: str, required: int, budget: int) -> None:
        super().__init__(message)
        self.required = required
        self.budget = budget

    def __reduce__(self) -> tuple[type[BudgetExceeded], tuple[str, int, int]]:
        return type(self), (str(self), self.required, self.budget)


class TrainingDiverged(FloatingPointError):  # noqa: N818 - reads like the sentence it is
    """The loss of a run grew beyond bounds or stopped being a number; the message says when, and what to do.

    Attributes:
        epoch, step: where, counted from 1.
        loss: what it had become.
        checkpoint: the last one from before, None without one.
    """

    def __init__(self, message: str, epoch: int, step: int, loss: float, checkpoint: Path | None = None) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.loss = loss
        self.checkpoint = checkpoint

    def __reduce__(self) -> tuple[type[TrainingDiverged], tuple[str, int, int, float, Path | None]]:
        return type(self), (str(self), self.epoch, self.step, self.loss, self.checkpoint)


class RankFailed(RuntimeError):  # noqa: N818 - reads like the sentence it is
    """Another process of a data-parallel run failed, ended, or did not answer in time; the message names it.

    Attributes:
        ranks: the numbers of the processes that are to blame, as far as they are known.
        silent: those of them that could not say why.
    """

    def __init__(self, message: str, ranks: tuple[int, ...] = (), silent: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks
        self.silent = silent

    def __reduce__(self) -> tuple[type[RankFailed], tuple[str, tuple[int, ...], tuple[int, ...]]]:
        return type(self), (str(self), self.ranks, self.silent)


class RanksDiffer(ValueError):  # noqa: N818
    """The processes of a data-parallel run would not train the same model in the same way."""


class DeviceError(RuntimeError):
    """A GPU refused a call or lost its context; the message names the op."""


class DeviceMemoryError(DeviceError, MemoryError):
    """A GPU has not enough free memory."""


class UnsupportedModel(TypeError):  # noqa: N818 - reads like the sentence it is
    """The model holds something that cannot be trained natively; the message names layer and op."""


class PlanFileError(ValueError):
    """A plan file is damaged, foreign, of a newer version, or cannot be read or written."""


class ReservoirError(ValueError):
    """A file of kept features is damaged, foreign, of a newer version, of another network, or in use."""


class TiedWeights(UnsupportedModel, ValueError):  # noqa: N818
    """A weight that would train natively is used in more than one place."""
