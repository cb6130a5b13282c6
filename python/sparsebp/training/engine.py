"""One native program with its state: what runs, what trains it, which update is due."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from .. import _C
from ..samplers import Sampler
from . import engine_state
from .forward_pass import ForwardPass, ForwardPasses, check_alone
from .gradient_sums import GradientSums
from .loss_scaling import check_unscaled
from .no_gradient import mark_gradients
from .protocol import RuleSource
from .rules import Rules, Slot
from .weight_memory import Sources


class Engine(GradientSums):
    """One native program, its weights and its training state.

    Args:
        spec: of the program.
        layers: per native layer where its parameters stand.
        budget: bytes of the arena.
        sampler: draws the update sets.
        resample_every: optimizer steps from one draw to the next.
        dtype: element type of the program; it runs where the weights are.
        isa: instruction set; empty takes the best.
        seed: of dropout.

    Raises:
        BudgetExceeded: the program needs more bytes.
        MemoryError, DeviceMemoryError: the system or the GPU cannot give as many.
    """

    def __init__(
        self,
        spec: _C.ProgramSpec,
        layers: Sequence[Sources],
        budget: int,
        sampler: Sampler,
        resample_every: int = 1,
        dtype: torch.dtype = torch.float32,
        isa: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__(spec, layers, budget, dtype, isa)
        self.sampler = sampler
        self.trainer = self._make_trainer(resample_every, seed)
        self.momentum = bool(spec.momentum)
        self.normalise = bool(spec.normalise)
        self.input_grad = bool(spec.input_grad)
        self.rate_scale = 1.0  # this pass's share of a step
        self.marks_gradients = False  # see no_gradient.py
        self.rules = Rules(self.trainer)
        self._forward_passes = ForwardPasses(self._discard)
        self._lock = threading.RLock()  # native code lets other threads of Python run
        self._optimizer: weakref.ref[RuleSource] | None = None
        self.untried = False  # may the attached optimizer, which has not ended a step yet, be a GradScaler's
        self.draw()  # a sampler of the user's own may refuse; the weights are as they were then
        self.bind(layers)

    def _move(self, device: torch.device) -> None:
        """Training goes on where the weights are now; a forward pass in flight is lost."""
        state = self.state()
        super()._move(device)
        self.trainer = self._make_trainer(self.resample_every, self.seed)
        self.rules = Rules(self.trainer, self.rules.slots)
        self.load_state(state)

    def _make_trainer(self, resample_every: int, seed: int) -> _C.Trainer:
        own = weakref.ref(self)  # which owns the trainer

        def draw(turn: int) -> None:
            engine = own()
            assert engine is not None
            engine.sampler.draw_all(engine.program, engine.specs, turn)

        return _C.Trainer(self.program, draw, dropout_seed=seed, resample_every=resample_every)

    # -- optimizer -------------------------------------------------------------------------------

    def attach(self, optimizer: RuleSource, slots: dict[Slot, int]) -> None:
        """Makes ``optimizer`` the source of the training rules; ``slots`` maps parameters to its groups."""
        self._optimizer = weakref.ref(optimizer)
        self.untried = True
        self.rules = Rules(self.trainer, slots)

    def detach(self) -> None:
        """Undoes :meth:`attach`: no step of that optimizer reaches this program any more."""
        optimizer = self.optimizer
        if optimizer is not None:
            optimizer.forget(self)
        self._optimizer = None

    @property
    def groups(self) -> Iterable[int]:
        """The parameter groups of the attached optimizer that this program trains with."""
        return self.rules.groups

    @property
    def optimizer(self) -> RuleSource | None:
        """The attached optimizer, while it lives."""
        return self._optimizer() if self._optimizer is not None else None

    def _refresh_rules(self) -> None:
        optimizer = self.optimizer
        if optimizer is None:
            raise RuntimeError(
                "backward: no sparsebp optimizer is attached, and the update is part of the backward pass. "
                "Create one first: opt = sparsebp.optim.SGD(model, lr=...); "
                "torch.optim cannot train parameters that never get a .grad"
            )
        optimizer.check(self)
        self.rules.refresh(optimizer.param_groups)

    def finish_step(self) -> None:
        """The optimizer's step: applies gradient sums if there are any, and makes the next draw due.

        Without a backward pass since the last one it changes nothing, as torch's does where ``.grad`` is None.
        """
        self.images = 0
        if not self.pending:
            return
        if self.sums:
            with self._lock:
                self.rebind_if_moved()
                self._refresh_rules()
                with self._on_device():
                    self.trainer.finish_step(self.rate_scale)
            self._touch()
        else:
            self.trainer.finish_step()
        self.untried = False

    # -- passes ----------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draws the update sets of turn ``self.turn``."""
        with self._on_device():
            self.trainer.draw()

    def infer(self, first: int, last: int, x: int, y: int, images: int, drop: bool) -> None:
        """Runs ops without saving anything; ``drop`` where some of them drop values at random."""
        with self._lock, self._on_device():
            self.trainer.infer(first, last, x, y, images, drop)

    def forward(self, first: int, last: int, x: int, y: int, images: int, drop: bool = True) -> ForwardPass:
        """A training forward pass; what is returned is what the backward pass needs.

        One that still waits for its backward pass loses its place. The update set is the same until its update is
        done, however many forward passes that takes; each of them drops other values.
        """
        with self._lock:
            self.supersede()
            with self._on_device():
                self.trainer.forward(first, last, x, y, images, drop)
            return self._forward_passes.begin(images)

    def _discard(self) -> None:
        self.program.discard()

    def supersede(self) -> None:
        """A pass that still waits for its backward loses its place."""
        self._forward_passes.supersede()

    def prepare_replay(self) -> None:
        """Before a CUDA graph of forward and backward pass runs: writes what it reads besides its inputs."""
        with self._lock:
            self.supersede()
            self._refresh_rules()
            with self._on_device():
                self.trainer.prepare_replay(self.rate_scale)

    @property
    def spoilt(self) -> bool:
        """Whether the last pass (with gradient sums: step) met a gradient that was not finite; waits for the GPU."""
        with self._on_device():
            return self.program.spoilt

    def replayed(self) -> None:
        """After it."""
        self.trainer.replayed()
        if not self.sums:
            self._touch()

    def check_incoming(self, forward_pass: ForwardPass, dy: torch.Tensor) -> None:
        """Raises RuntimeError, and ends the pass, if a GradScaler multiplied the loss (:mod:`.loss_scaling`)."""
        if self.untried and forward_pass.open:
            try:
                self.untried = not check_unscaled(dy)
            except RuntimeError:
                self.abandon()
                raise

    def backward(self, forward_pass: ForwardPass, dy: int, dx: int, keep: bool = False) -> None:
        """The backward pass and, unless gradients are summed, the update.

        With ``keep`` no optimizer is needed, nothing is updated, and the pass can be repeated as long as
        ``forward_pass`` lives and no other begins: for programs of one op with gradient sums.
        """
        with self._lock:
            self._forward_passes.check(forward_pass)
            try:
                check_alone()
                self.rebind_if_moved(in_flight=True)
                if not keep:
                    self._refresh_rules()
                with self._on_device():
                    self.trainer.backward(dy, dx, self.rate_scale, keep)
            except BaseException:
                self.abandon()
                raise
            forward_pass.open, forward_pass.kept = False, keep
            self.images += forward_pass.images
            if self.marks_gradients:
                mark_gradients(self.trained())
            if not self.sums:
                self._touch()

    def train_batch(
        self,
        first: int,
        x: int,
        images: int,
        labels: int,
        logits: int,
        smoothing: float,
        skip_above: float,
        drop: bool,
        finish: bool,
        learned: int,
    ) -> tuple[float, int]:
        """A whole step with softmax cross-entropy, natively; mean loss, and how many images trained something.

        ``learned`` is where a bool of each image goes, or 0. A forward pass that waits for its backward pass loses its
        place. Without ``finish`` :meth:`finish_step` is left to the caller, which needs gradient sums.
        """
        with self._lock:
            self.supersede()
            self.rebind_if_moved()
            self._refresh_rules()
            try:
                with self._on_device():
                    loss, _, trained = self.trainer.train_batch(
                        first, x, images, labels, logits, smoothing, skip_above, drop, finish, learned
                    )
            finally:
                self._touch()
            self.images = 0 if finish else self.images + images
            if trained:
                self.untried = False
            return loss, trained

    @property
    def last_forward(self) -> ForwardPass | None:
        """The last training forward pass, while something holds its output."""
        return self._forward_passes.last

    def abandon(self) -> None:
        """Gives up the training forward pass in flight, whoever still holds its output."""
        self._forward_passes.abandon()

    # -- persistence -----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Counters and the persistent bytes of the arena."""
        with self._lock, self._on_device():
            return engine_state.capture(self)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Puts back what :meth:`state` returned; a forward pass in flight is lost.

        Raises:
            ValueError: it belongs to another plan.
        """
        engine_state.check(self, state)
        with self._lock, self._on_device():
            self.abandon()  # what it saved belongs to other channels
            engine_state.put_back(self, state)

    def state_dict(self) -> dict[str, Any]:
        """The same for an optimizer's ``state_dict``: tensors, plain data, and what plan they belong to."""
        return engine_state.exported(self)

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError unless :meth:`load_state_dict` can take it."""
        engine_state.imported(self, state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what :meth:`state_dict` returned; raises ValueError if it belongs to another plan."""
        self.load_state(engine_state.imported(self, state))
