"""The steps of a run, whoever shares them: what a step of all ranks comes to."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..distributed import DataParallel, Ranks, Traffic
from ..distributed.alone import Alone
from ..optim import SGD
from ..runtime.stop import StopRequest
from ..samplers import NAMES
from ..training.schedule import rate_factor
from ..training.sparse_model import SparseModel
from ..training.train_step import train_step
from .settings import Settings

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Taken:
    """A step that was taken, by all ranks together.

    Attributes:
        loss: mean over the images; 0 without any.
        images: how many there were.
        trained: images that trained something.
        learned: which images were learned already, bool [n]; None where several ranks share them.
        stop: the signal that asks for an end, if one came to any rank before the step ended.
    """

    loss: float
    images: int
    trained: int
    learned: torch.Tensor | None
    stop: int | None


class Steps:
    """Takes a run's steps. Where several ranks do, all make one of these at the same time.

    Args:
        model: converted.
        opt: attached to it.
        rates: of its parameter groups, for a whole batch where the schedule is at its height.
        settings: of the run.
        class_offsets: see :func:`.train_step`.
        ranks: that share every step.
        stop: asks to end early.

    Raises:
        RanksDiffer, ValueError: see :class:`sparsebp.distributed.DataParallel`.

    Attributes:
        traffic: between the ranks; None for one.
    """

    def __init__(
        self,
        model: SparseModel,
        opt: SGD,
        rates: Sequence[float],
        settings: Settings,
        class_offsets: torch.Tensor | None,
        ranks: Ranks | Alone,
        stop: StopRequest,
    ) -> None:
        self._model, self._opt, self._stop, self._ranks = model, opt, stop, ranks
        self._rates, self._settings = rates, settings
        self._how: dict[str, Any] = {
            "label_smoothing": settings.label_smoothing,
            "skip_above": settings.skip_above,
            "class_offsets": class_offsets,
        }
        self._parallel = _joined(model, opt, ranks) if isinstance(ranks, Ranks) else None

    @property
    def traffic(self) -> Traffic | None:
        return None if self._parallel is None else self._parallel.traffic

    def take(self, x: torch.Tensor, labels: torch.Tensor, from_prefix: bool, done: float) -> Taken:
        """A step on this rank's part of a batch, which may be empty.

        Args:
            x, labels, from_prefix: see :func:`.train_step`.
            done: the share of the run that is done in the middle of this step.
        """
        if self._parallel is not None:
            return self._together(self._parallel, x, labels, from_prefix, done)
        loss, trained, learned = 0.0, 0, torch.zeros(len(labels), dtype=torch.bool)
        if len(labels):
            self._set_rates(done, len(labels))
            how = {"from_prefix": from_prefix, "learned": learned, **self._how}
            loss, trained = train_step(self._model, self._opt, x, labels, **how)
        return Taken(loss, len(labels), trained, learned, self._stop.signal)

    def _together(
        self, parallel: DataParallel, x: torch.Tensor, labels: torch.Tensor, from_prefix: bool, done: float
    ) -> Taken:
        loss, trained = 0.0, 0
        if len(labels):
            how = {"from_prefix": from_prefix, "finish": False, **self._how}
            loss, trained = train_step(self._model, self._opt, x, labels, **how)
        asked = [float(self._stop.signal == number) for number in SIGNALS]
        totals = parallel.agree([loss * len(labels), trained, *asked])
        total, learned, *asked = totals.numbers
        if totals.images:
            self._set_rates(done, totals.images)
        self._opt.step()
        self._opt.zero_grad()
        mean = total / totals.images if totals.images else 0.0
        stop = next((int(number) for number, ranks in zip(SIGNALS, asked, strict=True) if ranks), None)
        return Taken(mean, totals.images, int(learned), None, stop)

    def _set_rates(self, done: float, images: int) -> None:
        settings, share = self._settings, images / self._settings.batch_size
        rate = rate_factor(settings.schedule, done, settings.warmup) * (share**0.5 if settings.normalise else share)
        for group, full in zip(self._opt.param_groups, self._rates, strict=True):
            group["lr"] = full * rate

    def stop(self) -> int | None:
        """The signal that asks for an end, if one came to any rank; all ask at the same time."""
        asked = self._ranks.gather(self._stop.signal)
        return next((number for number in SIGNALS if number in asked), None)

    def close(self) -> None:
        """From here on the model trains alone."""
        if self._parallel is not None:
            self._parallel.close()


def check_ranks(settings: Settings, ranks: Ranks | Alone) -> None:
    """Raises ValueError, which says what to do, unless a run with these settings can be shared by so many ranks."""
    if ranks.size == 1:
        return
    if settings.gradients != "sum":
        raise ValueError(
            f"gradients: {settings.gradients} updates weights before other ranks' gradients are known; with "
            f"{ranks.size} ranks expected sum. A run that began otherwise goes on with one process"
        )
    if settings.rest:
        raise ValueError(f"rest: with {ranks.size} ranks each sees other pictures in every epoch; expected 0")
    sampler = NAMES[settings.sampler] if isinstance(settings.sampler, str) else type(settings.sampler)
    if sampler.needs_scores:  # said before pictures are read; DataParallel would say it after that
        raise ValueError(
            f"sampler: {sampler.__name__} draws by gradients, of which each rank sees its own; use random, cyclic or "
            "static"
        )
    if ranks.size * settings.micro_batch > settings.batch_size:
        raise ValueError(
            f"batch_size: {settings.batch_size} pictures in micro-batches of {settings.micro_batch} do not go round "
            f"{ranks.size} ranks; expected at least {ranks.size * settings.micro_batch}, or fewer ranks"
        )


def _joined(model: SparseModel, opt: SGD, ranks: Ranks) -> DataParallel:
    if model._runner.torch_is_random:
        raise ValueError(
            "ranks: a part of this network runs in torch and drops values at random there, which several processes "
            "cannot do as one does; train it with one"
        )
    return DataParallel(model, opt, ranks, numbers=2 + len(SIGNALS))
