"""One run: steps, epochs, checkpoints, and going on where it was."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..distributed import Ranks
from ..distributed.alone import Alone
from ..errors import TrainingDiverged
from ..optim import SGD
from ..runtime.stop import Interrupted, StopRequest
from ..training.sparse_model import SparseModel
from ..training.train_step import check_logits
from .checkpoint import Checkpoint, CheckpointError
from .divergence import Watch
from .evaluation import Evaluation, check_output, score
from .feed import Feed
from .folder import RunFolder
from .history import History, Kept, Position
from .kept import KeptEpochs, best_epoch, without_a_better_one, worth
from .observer import Observer
from .order import Change
from .saved_state import check_weights, engine_state, saved_state
from .settings import Settings
from .steps import Steps

_GENERATOR = "torch_generator"


class Run:
    """Trains a converted model; everything that must survive a kill is in :meth:`save`.

    Args:
        model: converted.
        feed: its batches.
        settings: of the run.
        folder: where checkpoints go, if anywhere.
        checkpoint_every: steps between two of them.
        observer: is told what happens.
        stop: asks to end early.
        kept: where the weights of epochs go that the run may end with, if it may end with others than its last.
        ranks: that share the run; of several only the first has a folder and keeps epochs.
    """

    def __init__(
        self,
        model: SparseModel,
        feed: Feed,
        settings: Settings,
        folder: RunFolder | None,
        checkpoint_every: int,
        observer: Observer,
        stop: StopRequest,
        kept: KeptEpochs | None = None,
        ranks: Ranks | Alone | None = None,
    ) -> None:
        self.model = model.train()
        self._feed = feed
        self._settings = settings
        self._folder = folder
        self._every = checkpoint_every
        self._observer = observer
        self._stop = stop
        self._kept = kept
        self._ranks = ranks or Alone()
        self._steps: Steps | None = None
        self._exchanged: dict[str, Any] | None = None  # before the run was resumed
        self.history = History()
        self.position = Position(0, 0, feed.order.steps, settings.epochs)
        self.peak = 0
        self._opt = SGD(settings.groups(model), lr=settings.rate, weight_decay=settings.weight_decay)
        self._rates = [group["lr"] for group in self._opt.param_groups]
        self._watch = Watch(model, settings, self._ranks)
        self._due = False  # a checkpoint
        check_logits(self.model)
        check_output(torch.empty(1, *model.output_shape), len(feed.classes))

    def train(self) -> None:
        """Trains what is left.

        Raises:
            Interrupted: a stop was asked for; a checkpoint was written if there is a folder.
            TrainingDiverged: the loss grew beyond bounds or is not finite; the last checkpoint is from before.
        """
        if self.position.finished:
            return
        of_all = (self.model, self._opt, self._rates, self._settings, self._feed.class_offsets)
        steps = self._steps = Steps(*of_all, self._ranks, self._stop)
        if steps.traffic is not None:
            if self._exchanged is not None:
                steps.traffic.go_on(self._exchanged)
            self._observer.exchanging(steps.traffic)
        if self.position.done == 0:
            self.save()  # from here on a kill leaves something to go on from
        while not self.position.finished:
            if self.position.step == 0:
                self.history.seen = self._feed.resting
            with closing(self._feed.train(self.position.epoch, self.position.step)) as batches:
                for x, labels, indices in batches:
                    stop = self._step(steps, x, labels, indices)
                    self._save_or_stop(x, labels, stop)
            self._end_epoch(steps)
        steps.close()

    @property
    def exchanged(self) -> dict[str, Any] | None:
        """Between ranks, so far; None if there never were several."""
        traffic = None if self._steps is None else self._steps.traffic
        return self._exchanged if traffic is None else traffic.to_dict()

    def _step(self, steps: Steps, x: torch.Tensor, labels: torch.Tensor, indices: list[int]) -> int | None:
        """Takes a step; returns the signal that asks for an end, if one does."""
        before = self.position
        self.position = replace(before, step=before.step + 1)
        if self.history.first is None:
            self._begin(x, labels)
        middle = (before.done + self.position.done) / 2
        try:
            taken = steps.take(x, labels, self._feed.from_prefix, middle)
        except FloatingPointError as error:
            raise self._diverged(f"{error}, so the loss no longer is", math.nan) from error
        if taken.images:
            self.history.seen += taken.images
            self.history.learned_from += taken.trained
            if taken.learned is not None:
                self._feed.rests.learned(indices, taken.learned)
            smoothed = self.history.add_loss(taken.loss, self.position)
            if not self._watch.bounded(smoothed):
                raise self._diverged(f"the running loss is {smoothed:.4g}", smoothed)
            self._observer.stepped(self.position, smoothed, taken.images)
        return taken.stop if self._ranks.size > 1 else self._stop.signal

    def _begin(self, x: torch.Tensor, labels: torch.Tensor) -> None:
        first = self._watch.loss(x, labels, self._feed.from_prefix)
        if first is None:
            return
        if not math.isfinite(first):
            raise self._diverged(f"the loss is {first}", first)
        self.history.first = self._watch.first = first

    def _end_epoch(self, steps: Steps) -> None:
        for skipped in self._ranks.gather(self._feed.skipped):
            self._feed.also_skipped(skipped)
        if self.history.loss is None:
            raise ValueError("data: no picture could be read of the training set")
        done = self.position.epoch + 1
        try:
            found = self._test()
        except Interrupted as request:
            raise Interrupted(request.signal, None if self._watch.spoilt else self.save()) from None
        if self._watch.lost(found.loss):
            raise self._diverged(f"the loss of the test pictures is {found.loss:.4g}", found.loss)
        loss = self.history.loss
        if (
            done == self.position.epochs
            and found.collapsed
            and self._watch.learned_nothing(loss, len(self._feed.classes))
        ):
            what = f"all test pictures look the same to the network, and the running loss is {loss:.4g}"
            raise self._watch.error(what, loss, self.position, None)  # no checkpoint is any better
        epoch = self.history.end_epoch(done, found, self._feed.classes, self.model.coverage().total)
        self.position = replace(self.position, epoch=done, step=0)
        patience = self._settings.patience
        if patience is not None and without_a_better_one(self.history, self._settings) >= patience:
            self.position = replace(self.position, epochs=done)
        self._feed.rests.end_epoch()
        if not self.position.finished:  # the order of the last one says what was learned from
            self._feed.order.begin(done)
            self.position = replace(self.position, steps_per_epoch=self._feed.order.steps)
        self._observer.epoch_ended(epoch)
        if self._kept is not None:
            self._kept.add(self.history, self.model.state_dict())
        saved = self.save()
        if self._kept is not None:
            self._kept.prune(self.history)
        asked = steps.stop()
        if asked is not None and not self.position.finished:
            self._stop.check(saved, asked)

    def _test(self, shared: bool = True) -> Evaluation:
        """By all ranks, each on its part of the test pictures, or by this one alone."""
        self.model.eval()
        logits = self.model.run_span if self._feed.from_prefix else self.model
        ranks = self._ranks if shared else Alone()
        try:
            with closing(self._feed.test(shared)) as batches:
                return score(batches, logits, len(self._feed.classes), self._evaluated, ranks=ranks)
        finally:
            self.model.train()

    def end(self) -> None:
        """Puts the weights into the model that a finished run ends with.

        Raises:
            Interrupted: a stop was asked for.
            CheckpointError: the weights of an epoch are gone.
        """
        early = self.position.epochs < self._settings.epochs
        kept = None if self._kept is None else self._chosen(self._kept)
        if self._ranks.size > 1 and KeptEpochs.needed(self._settings):
            weights, history = self._ranks.from_first((self.model.state_dict(), self.history.to_dict()))
            self.model.load_state_dict(weights)
            self.history = History.from_dict(history)
        self._observer.ended(kept, early)

    def _chosen(self, files: KeptEpochs) -> Kept:
        classes, settings = self._feed.classes, self._settings
        numbers, best = files.averaged(self.history), None
        if settings.keep == "best":
            best = best_epoch(self.history, settings)
        if numbers:
            self.model.load_state_dict(files.mean(numbers))
            mean = self.history.end(numbers, self._test(shared=False), classes)
            if best is None or worth(mean, settings) >= worth(best, settings):
                return mean
        assert best is not None, "nothing else is kept"
        self.model.load_state_dict(files.read(best.number))
        return self.history.end([best.number], self._test(shared=False), classes)

    def _evaluated(self, done: int) -> None:
        self._observer.evaluating(min(done * self._ranks.size, self._feed.tests), self._feed.tests)
        if self._ranks.size == 1:  # several stop together, between two steps
            self._stop.check()

    def _save_or_stop(self, x: torch.Tensor, labels: torch.Tensor, request: int | None) -> None:
        """Writes the checkpoint that is due, as soon as the update before it is seen to have spoilt nothing."""
        total = self.position.epoch * self.position.steps_per_epoch + self.position.step
        self._due = self._due or request is not None or total % self._every == 0
        if not self._due and self.position.step < self.position.steps_per_epoch:
            return
        broken = self._watch.broken_weight()
        if broken is not None:
            raise self._diverged(broken, self.history.loss or math.nan)
        self._watch.look_again(x, labels, self._feed.from_prefix)
        saved = self.save() if self._due and not self._watch.spoilt else None
        if request is not None:
            self._stop.check(saved, request)

    def _diverged(self, what: str, loss: float) -> TrainingDiverged:
        return self._watch.error(what, loss, self.position, self._folder.newest() if self._folder else None)

    # -- persistence -----------------------------------------------------------------------------

    def save(self) -> Path | None:
        """Writes a checkpoint; returns where, or None without a folder."""
        self._due = False
        self.history.skipped = list(dict.fromkeys([*self.history.skipped, *self._feed.skipped]))
        if self._folder is None:
            return None
        training, counters = saved_state(self.model)
        training |= {_GENERATOR: torch.get_rng_state(), **self._feed.state()}
        self.peak = max(self.peak, self.model.arena.peak)
        facts = {
            "plan": self.model.plan.to_dict(),
            "position": asdict(self.position),
            "peak": self.peak,
            "counters": counters,
            "optimizer": [{k: group[k] for k in _GROUP_KEYS} for group in self._opt.param_groups],
            "history": self.history.to_dict(),
            **({"exchanged": self.exchanged} if self.exchanged is not None else {}),
        }
        path = self._folder.save(self.model.state_dict(), training, facts)
        self._observer.saved(path)
        return path

    def load(self, checkpoint: Checkpoint) -> Change | None:
        """Goes on where :meth:`save` was called; says what became of the pictures, if they have names.

        Raises:
            CheckpointError: it is of another model, or lacks something; the model has not changed.
        """
        facts = checkpoint.facts
        try:
            position, history = Position(**facts["position"]), History.from_dict(facts["history"])
            peak, groups = int(facts["peak"]), list(facts["optimizer"])
            state = engine_state(checkpoint)
            rates = [{k: float(group[k]) for k in _GROUP_KEYS} for group in groups]
            pairs = list(zip(self._opt.param_groups, rates, strict=True))
            check_weights(checkpoint.weights, self.model.state_dict())
            torch.set_rng_state(checkpoint.training[_GENERATOR])  # the caller's comes back when the run is over
            self.model.engine.load_state(state)
            self.model.load_state_dict(checkpoint.weights)
            change = self._feed.resume(checkpoint.training, position)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"resume: the checkpoint does not fit this model: {error!r}") from error
        self.position = replace(position, steps_per_epoch=self._feed.order.steps)
        self.history, self.peak, self._exchanged = history, peak, facts.get("exchanged")
        self._watch.first = history.first
        for own, saved in pairs:
            own.update(saved)
        return change


_GROUP_KEYS = ("lr", "momentum", "weight_decay")
