"""One model on several ranks: each step's gradients are added up before they are applied."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..optim import SGD
from ..training.sparse_model import SparseModel
from .agreement import check_same, facts_of, rates
from .ranks import Ranks
from .torch_gradients import TorchGradients
from .traffic import Traffic

_HASH = 1 << 22
"""Small enough that the squares of some hundred such numbers add up exactly in float64."""


@dataclass(frozen=True)
class Totals:
    """What the ranks' parts of a step come to.

    Attributes:
        images: that went through the network, those that needed no backward pass among them.
        trains: whether something trained anywhere.
        numbers: sums of what each rank gave besides.
    """

    images: int
    trains: bool
    numbers: tuple[float, ...]


class DataParallel:
    """Makes an ordinary training loop one of several that train the same model, each on its part of every batch.

    Update sets are functions of seed, layer and turn, so that all ranks have the same without telling each other.
    ``opt.step()`` then adds up what was gathered in the arena: the gradients of the selected rows, of shifts and biases
    and of the classifier, in one all-reduce that works in the arena itself. Before it a second one tells a few numbers.
    The step is that of one process with all of the images, if every rank's loss is the mean over its own: ranks with
    more images count for more, one without any only calls ``opt.step()``. Every rank calls it equally often.
    ``opt.clip_grad_norm_`` clips what all have added up. What torch trains in the same optimizer is added up, too.

    Weights are compared at the start, not sent: load the same checkpoint everywhere, before this.

    Args:
        model: converted with ``gradients="sum"``, the same on every rank.
        opt: the optimizer attached to it, and to no other.
        ranks: the processes; None for all of torch.distributed's default group.
        numbers: how many :meth:`agree` will be given.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: updates are made in place, the sampler looks at gradients, or ``opt`` is another model's.
        RanksDiffer: plan, seed, sampler, rates, weights or state are not the same everywhere; it says where and what.
        RankFailed: another process is gone; here nothing was updated.

    Attributes:
        traffic: bytes exchanged so far, and beside them those of dense training.
    """

    def __init__(self, model: SparseModel, opt: SGD, ranks: Ranks | None = None, numbers: int = 0) -> None:
        _check(model, opt)
        self._model, self._opt = model, opt
        self._ranks = ranks or Ranks()
        self._others = TorchGradients(opt, self._ranks)
        check_same(self._ranks, facts_of(model, opt))
        engine = model.engine
        self._forwards = engine.forwards  # of all ranks, before this step
        self._summed = False
        self._totals: Totals | None = None
        dense = sum(p.numel() * p.element_size() for p in model.parameters()) + self._others.bytes
        step = engine.whole_sums().nbytes + self._others.bytes + self._note([0.0] * numbers).nbytes
        self.traffic = Traffic(self._ranks.size, step, dense)
        self._begin()
        opt.exchange = self

    def agree(self, numbers: Sequence[float] = ()) -> Totals:
        """Tells the ranks what each has gathered for this step, before :meth:`sum_gradients` adds it up.

        Args:
            numbers: more to add up, as many as were announced.

        Raises:
            RanksDiffer: the ranks have drawn different update sets, or have different rates.
        """
        engine, note = self._model.engine, self._note(numbers)
        self._ranks.sum(note)
        images, trained, forwards, drawn, *sums = note.tolist()
        sets, rules, rest = sums[:2], sums[2:4], sums[4:]
        if not (_equal(sets, drawn) and _equal(rules, self._ranks.size)):
            check_same(self._ranks, self._choices())
        self.traffic.exchanged += note.nbytes
        self._forwards += int(forwards)
        if drawn and engine.due:  # no picture came by here, whose forward pass would have drawn
            engine.prepare_replay()
        self._totals = Totals(int(images), trained > 0, tuple(rest))
        return self._totals

    def sum_gradients(self) -> None:
        """Adds up the gradients; ``opt.step()`` and ``opt.clip_grad_norm_`` call it."""
        engine = self._model.engine
        if self._summed:
            if engine.images:
                raise RuntimeError(
                    "backward: its gradients came after those of this step were added up, by clip_grad_norm_; call "
                    "opt.step() first"
                )
            return
        totals = self._totals or self.agree()
        self._summed = True
        if totals.trains and totals.images:
            share = engine.images / totals.images
            if engine.pending:
                engine.whole_sums().mul_(share)
            else:  # others trained: the step is due here too
                engine.prepare_replay()
                engine.replayed()
            self._ranks.sum(engine.whole_sums())
            self._others.sum(share)
            self.traffic.exchanged += engine.whole_sums().nbytes + self._others.bytes
            self.traffic.steps += 1
        engine.images = 0

    def finished(self) -> None:
        """The step is over; the optimizer says so."""
        self._summed, agreed = False, self._totals is not None
        self._totals = None
        if agreed:
            self._begin()

    def close(self) -> None:
        """From here on this process trains alone."""
        engine = self._model.engine
        engine.trainer.stride, engine.forwards = 1, self._forwards
        self._opt.exchange = None

    def _begin(self) -> None:
        """Ranks take turns in the keys of dropout, so that each drops what one process would in its place."""
        engine = self._model.engine
        engine.trainer.stride = self._ranks.size
        engine.forwards = self._forwards + self._ranks.rank

    def _note(self, numbers: Sequence[float]) -> torch.Tensor:
        engine, ranks = self._model.engine, self._ranks
        forwards = (engine.forwards - self._forwards - ranks.rank) // ranks.size
        trains, drawn = engine.pending or self._others.there, not engine.due
        sets = _hash(self._update_sets()) if drawn else 0  # without a picture there was no draw yet
        rules = _hash(repr([rates(group) for group in self._opt.param_groups]).encode())
        own = [engine.images, trains, forwards, drawn, sets, sets**2, rules, rules**2, *numbers]
        return torch.tensor(own, dtype=torch.float64, device=engine.device)

    def _update_sets(self) -> bytes:
        program = self._model.engine.program
        return b"".join(program.read(offset) for name, offset, _ in program.persistent() if name == "indices")

    def _choices(self) -> dict[str, object]:
        engine = self._model.engine
        sets = {spec.name: engine.program.indices(i) for i, spec in enumerate(engine.specs)}
        groups = {f"setting of parameter group {i}": rates(group) for i, group in enumerate(self._opt.param_groups)}
        return {**groups, "number of draws": engine.turn + engine.due, "update set": sets}


def _hash(data: bytes) -> int:
    return zlib.crc32(data) % _HASH


def _equal(sums: Sequence[float], count: float) -> bool:
    """Whether so many numbers are all the same, by their sum and that of their squares; all ranks find the same."""
    once, squared = map(int, sums)
    return squared * int(count) == once**2


def _check(model: SparseModel, opt: SGD) -> None:
    if not isinstance(model, SparseModel):
        raise TypeError(f"model: expected what sparsebp.convert returned, got {type(model).__name__}")
    engine = model.engine
    if not isinstance(opt, SGD) or engine.optimizer is not opt:
        raise ValueError("opt: expected the sparsebp.optim.SGD that was made for this model last")
    if opt.programs != (engine,):
        raise ValueError(f"opt: expected an optimizer of this model alone, got one of {len(opt.programs)} programs")
    if opt.exchange is not None:
        raise ValueError("opt: its gradients are exchanged already")
    if not engine.sums:
        raise ValueError(
            "model: its updates are applied in the backward pass, before others' gradients could be added; convert it "
            'with gradients="sum" (sparsebp.min_budget says the bytes that this needs at least)'
        )
    if engine.sampler.needs_scores:
        raise ValueError(
            f"sampler: {type(engine.sampler).__name__} draws by gradients, of which each rank sees its own; use "
            "random, cyclic or static"
        )
