"""What the native trainer of an engine counts, under the engine's own names."""

from __future__ import annotations

from typing import Generic, TypeVar

from .. import _C

T = TypeVar("T")


class _OfTrainer(Generic[T]):
    """Read and set in the trainer."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: Counters, kind: type[Counters]) -> T:
        return getattr(owner.trainer, self._name)  # type: ignore[no-any-return]

    def __set__(self, owner: Counters, value: T) -> None:
        setattr(owner.trainer, self._name, value)


class Counters:
    """How far training is."""

    trainer: _C.Trainer

    resample_every = _OfTrainer[int]("resample_every")
    seed = _OfTrainer[int]("dropout_seed")
    steps = _OfTrainer[int]("steps")  # optimizer steps done
    turn = _OfTrainer[int]("turn")  # update sets drawn so far, less one
    forwards = _OfTrainer[int]("forwards")  # forward passes that may drop values, the key of dropout
    due = _OfTrainer[bool]("due")  # is a new draw due at the next training forward
    pending = _OfTrainer[bool]("pending")  # has a backward pass trained since the last step
