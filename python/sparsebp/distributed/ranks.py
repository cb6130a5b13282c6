"""The processes that train one model together, as torch.distributed knows them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ..errors import RankFailed
from . import roll_call
from .shard import Shard

T = TypeVar("T")

TIMEOUT = 600.0
"""Seconds that a rank waits for the others."""
START = 300.0
"""At least so many at the beginning, when some may still import torch."""


class Ranks:
    """Some processes with a number each, their rank; the one with number 0 is the first.

    Every method is a collective: all ranks call it, in the same order.

    Args:
        group: of torch.distributed, all of whose processes take part; None for the default one.

    Raises:
        RuntimeError: torch.distributed is not initialised.

    Attributes:
        rank: this process's number.
        size: how many there are.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                "ranks: torch.distributed is not initialised; start the program by torchrun, and call "
                "torch.distributed.init_process_group or enter sparsebp.distributed.join first"
            )
        self._group = group
        self._source = 0 if group is None else dist.get_global_rank(group, 0)
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This rank's part of what all do."""
        return Shard(self.rank, self.size)

    @property
    def on_this_machine(self) -> int:
        """How many of them there are here, as torchrun says."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def sum(self, numbers: torch.Tensor) -> None:
        """Adds up the ranks' tensors, which are of one shape, in place."""
        with self._heard():
            dist.all_reduce(numbers, group=self._group)

    def mean(self, value: float, weight: float) -> float | None:
        """The mean of the ranks' values, each of which counts with its weight; None if nobody has any."""
        pairs = self.gather((value, weight))
        total = sum(weight for _, weight in pairs)
        return sum(value * weight for value, weight in pairs) / total if total else None

    def gather(self, value: T) -> list[T]:
        """What each rank gave, in their order, on every rank."""
        found: list[Any] = [None] * self.size
        with self._heard():
            dist.all_gather_object(found, value, group=self._group)
        return found

    def from_first(self, value: T) -> T:
        """What the first rank gave, on every rank."""
        found: list[Any] = [value]
        with self._heard():
            dist.broadcast_object_list(found, self._source, group=self._group)
        return found[0]  # type: ignore[no-any-return]

    def leave(self, error: BaseException) -> None:
        """Lets the others know why this rank ends early."""
        with suppress(RuntimeError, OSError):
            roll_call.leave(_store(), self.rank, f"{type(error).__name__}: {error}")

    @contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._failed(error) from error

    def _failed(self, error: RuntimeError) -> RankFailed:
        said = _essence(error)
        gone = roll_call.call(_store(), self.rank, self.size)
        if not gone:
            return RankFailed(f"ranks: rank {self.rank} of {self.size} cannot reach the others any more: {said}")
        parts = [f"rank {r} failed: {why}" for r, why in gone.items() if why is not None]
        parts += [f"rank {r} ended, or does not answer ({said})" for r, why in gone.items() if why is None]
        silent = tuple(rank for rank, why in gone.items() if why is None)
        return RankFailed(f"ranks: of {self.size}, {'; '.join(parts)}", tuple(gone), silent)


def launched() -> bool:
    """Whether torchrun, or whatever sets its environment variables, started several processes of which this is one."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") not in ("", "1")


@contextmanager
def join(device: torch.device | str = "cpu", timeout: float = TIMEOUT) -> Iterator[Ranks]:
    """Inside, this process is one of those that torchrun started; gloo connects processors, nccl GPUs.

    Args:
        device: where the model will be.
        timeout: seconds that a rank waits for the others, in any exchange, before it ends with an error; for them to
            come, at least :data:`START`.

    Raises:
        ValueError: ``timeout`` is not above 0, or torchrun did not start this process.
        RankFailed: the others did not come, or one of them failed later.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise ValueError(f"timeout: expected a number of seconds above 0, got {timeout!r}")
    if "RANK" not in os.environ:
        raise ValueError("ranks: torchrun did not start this process: the environment has no RANK")
    backend = "cpu:gloo,cuda:nccl" if torch.device(device).type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=max(timeout, START)))
        group = dist.new_group(timeout=timedelta(seconds=timeout))
    except RuntimeError as error:
        raise RankFailed(f"ranks: rank {os.environ['RANK']} does not reach the others: {_essence(error)}") from error
    try:
        ranks = Ranks(group)
        try:
            yield ranks
        except BaseException as error:
            ranks.leave(error)
            raise
    finally:
        dist.destroy_process_group()


def _essence(error: RuntimeError) -> str:
    """What a transport says went wrong, without the line of its source before it and the advice behind it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^(\[\S+:\d+\] )+", "", text).partition(". This is ")[0]


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()
