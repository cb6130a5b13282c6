"""One native program with its state: what runs, what trains it, which update is due."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from . import _C, devices
from .flight import Flight, landing
from .refusal import NoGradient
from .rules import Rules, Slot
from .samplers import Sampler, check_update_sets
from .weights import Weights, place

if TYPE_CHECKING:
    from .optim import SGD

#: Which engine trains a parameter in place, and in which rule slot.
OWNERS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


class Engine:
    """One native program, its weights and its training state.

    Args:
        spec: of the program.
        layers: per native layer the module that holds weight and bias, and its batch norm or None.
        budget: bytes of the arena.
        sampler: draws the update sets.
        resample_every: optimizer steps from one draw to the next.
        dtype: element type of the program; it runs where the weights are.
        isa: instruction set; empty takes the best.

    Raises:
        BudgetExceeded: the program needs more bytes.
        MemoryError, DeviceMemoryError: the system or the GPU cannot give as many.
    """

    def __init__(
        self,
        spec: _C.ProgramSpec,
        layers: Sequence[tuple[nn.Module, nn.Module | None]],
        budget: int,
        sampler: Sampler,
        resample_every: int = 1,
        dtype: torch.dtype = torch.float32,
        isa: str = "",
    ) -> None:
        self.dtype = dtype
        self.device = place(layers)
        self._make_program = partial(devices.make_program, spec, budget, dtype, isa)
        self.program = self._make_program(self.device)
        self.sampler = sampler
        self.resample_every = resample_every
        self.sums = bool(spec.sums)
        self.momentum = bool(spec.momentum)
        self.normalise = bool(spec.normalise)
        self.input_grad = bool(spec.input_grad)
        self.specs = list(spec.layers)
        self.steps = 0  # optimizer steps done
        self.turn = 0  # update sets drawn so far, less one
        self.forwards = 0  # forward passes that may drop values, the key of dropout
        self.rate_scale = 1.0
        self.refuses_gradients = False  # see refusal.py
        self.rules = Rules(len(self.specs))
        self._flight: weakref.ref[Flight] | None = None
        self._lock = threading.RLock()  # native code lets other threads of Python run
        self._owns = False  # are the trained parameters registered with this engine
        self._optimizer: weakref.ref[SGD] | None = None
        self._due = False  # is a new draw due at the next training forward
        self.draw()  # a sampler of the user's own may refuse; the weights are as they were then
        self.weights = Weights(self.program, self.specs, layers, dtype, self.device)

    # -- device ----------------------------------------------------------------------------------

    def _move(self, device: torch.device) -> None:
        """Training goes on where the weights are now; a forward pass in flight is lost."""
        state = self.state()
        program = self._make_program(device)
        weights = Weights(program, self.specs, self.weights.layers, self.dtype, device)
        self.abandon()
        self.program, self.weights, self.device = program, weights, device
        self.load_state(state)

    # -- weights ---------------------------------------------------------------------------------

    def rebind_if_moved(self, in_flight: bool = False) -> None:
        """``load_state_dict(assign=True)`` and ``.to()`` may replace memory; a step starts by noticing."""
        if self.weights.trained_moved() if in_flight else self.weights.moved():
            device = place(self.weights.layers)
            if device == self.device:
                self.weights.bind()
            elif in_flight:
                raise RuntimeError(f"backward: the weights went from {self.device} to {device} after the forward pass")
            else:
                self._move(device)
            if self._owns:
                self.own_parameters()

    def trained(self) -> list[nn.Parameter]:
        """The parameters that this program trains, in network order."""
        return self.weights.trained()

    def own_parameters(self) -> None:
        """Registers the trained parameters, so that an optimizer finds this engine through them."""
        self._owns = True
        self.weights.find_trained()
        for slot, parameter in self.weights.trained_slots():
            OWNERS[parameter] = (weakref.ref(self), slot)

    def disown_parameters(self) -> None:
        """Undoes :meth:`own_parameters`."""
        self._owns = False
        for _, parameter in self.weights.trained_slots():
            OWNERS.pop(parameter, None)

    # -- optimizer -------------------------------------------------------------------------------

    def attach(self, optimizer: SGD, slots: dict[Slot, int]) -> None:
        """Makes ``optimizer`` the source of the training rules; ``slots`` maps parameters to its groups."""
        self._optimizer = weakref.ref(optimizer)
        self.rules.assign(slots)

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
    def optimizer(self) -> SGD | None:
        """The attached optimizer, while it lives."""
        return self._optimizer() if self._optimizer is not None else None

    def _refresh_rules(self) -> int:
        optimizer = self.optimizer
        if optimizer is None:
            raise RuntimeError(
                "backward: no sparsebp optimizer is attached, and the update is part of the backward pass. "
                "Create one first: opt = sparsebp.optim.SGD(model, lr=...); "
                "torch.optim cannot train parameters that never get a .grad"
            )
        optimizer.check(self)
        return self.rules.refresh(optimizer.param_groups, self.rate_scale)

    def finish_step(self) -> None:
        """The optimizer's step: applies gradient sums if there are any, and makes the next draw due."""
        if self.sums:
            with self._lock:
                self.rebind_if_moved()
                rules = self._refresh_rules()
                with self._on_device():
                    self.program.apply(rules)
            self._touch()
        self.steps += 1
        self._due = self._due or self.steps % self.resample_every == 0

    def sum_views(self) -> list[torch.Tensor]:
        """The gradient sums inside the arena as flat tensors, one per trained parameter."""
        return [view for i in range(len(self.specs)) for view in self.layer_sums(i).values()]

    def layer_sums(self, layer: int) -> dict[str, torch.Tensor]:
        """A layer's gradient sums by parameter: ``weight`` is [selected, kh, kw, out / groups], flat."""
        if not self.sums:
            return {}
        arena, out = self.program.arena, {}
        for name in ("weight", "bias", "beta"):
            offset, size = self.program.sum_region(layer, name)
            if size:
                count = size // self.dtype.itemsize
                out[name] = devices.memory_view(arena, arena.address + offset, count, self.dtype, self.device)
        return out

    # -- passes ----------------------------------------------------------------------------------

    def _on_device(self) -> AbstractContextManager[object]:
        """What native code starts inside follows what torch has started."""
        self.program.set_stream(devices.stream_of(self.device))
        return devices.chosen(self.device)

    def draw(self) -> None:
        """Draws the update sets of turn ``self.turn``."""
        with self._on_device():
            self.sampler.draw_all(self.program, self.specs, self.turn)

    def _dropout_key(self) -> int:
        # Any odd 64-bit number keeps the sequences of different seeds apart; this one is 2^64 / golden ratio.
        return ((self.sampler.seed or 0) * 0x9E3779B97F4A7C15 + self.forwards) % 2**64

    def infer(self, first: int, last: int, x: int, y: int, images: int, drop: bool) -> None:
        """Runs ops without saving anything; ``drop`` where some of them drop values at random."""
        with self._lock, self._on_device():
            self.program.forward(first, last, x, y, images, False, drop, self._dropout_key())
            self.forwards += drop

    def forward(self, first: int, last: int, x: int, y: int, images: int) -> Flight:
        """A training forward pass; the returned flight is what the backward pass needs.

        Raises:
            RuntimeError: an earlier flight is still alive.
        """
        with self._lock:
            self._clear_for_take_off()
            with self._on_device():
                self.program.forward(first, last, x, y, images, True, True, self._dropout_key())
            self.forwards += 1
            flight = Flight()
            self._flight = weakref.ref(flight, landing(self))
            return flight

    def check_landed(self) -> None:
        """Raises RuntimeError while a training forward pass waits for its backward pass."""
        if self.flight is not None and self.flight.open:
            raise RuntimeError(
                "forward: an earlier training forward pass still waits for its backward; "
                "call loss.backward() first, drop its output, or use torch.no_grad() for inference"
            )

    def _clear_for_take_off(self) -> None:
        """No other training pass is on its way, and the update sets are those of this one."""
        self.check_landed()
        if self._flight is not None:
            self._flight = None
            self.program.discard()
        if self._due:
            self.turn += 1
            try:
                self.draw()
            except BaseException:  # a sampler of the user's own
                self.turn -= 1
                raise
            self._due = False

    def prepare_replay(self) -> None:
        """Before a CUDA graph of forward and backward pass runs: writes what it reads besides its inputs."""
        with self._lock:
            self._clear_for_take_off()
            with self._on_device():
                self.program.prepare_replay(self._refresh_rules(), self._dropout_key())
            self.forwards += 1

    @property
    def spoilt(self) -> bool:
        """Whether the last pass (with gradient sums: step) met a gradient that was not finite; waits for the GPU."""
        with self._on_device():
            return self.program.spoilt

    def replayed(self) -> None:
        """After it."""
        self.program.replayed()
        if not self.sums:
            self._touch()

    def backward(self, flight: Flight, dy: int, dx: int, keep: bool = False) -> None:
        """The backward pass and, unless gradients are summed, the update.

        With ``keep`` no optimizer is needed, nothing is updated, and the pass can be repeated as long as
        ``flight`` lives and no other takes off: for programs of one op with gradient sums.
        """
        with self._lock:
            usable = flight.open or flight.kept
            if not usable or self._flight is None or self._flight() is not flight:
                raise RuntimeError(
                    "backward: this forward pass was used already, or an error ended it; its saved channels are gone. "
                    "Run the forward pass again (retain_graph has no effect here)"
                )
            try:
                self.rebind_if_moved(in_flight=True)
                rules = self.rules.address if keep else self._refresh_rules()
                with self._on_device():
                    self.program.backward(dy, dx, rules, keep)
            except BaseException:
                self.abandon()
                raise
            flight.open, flight.kept = False, keep
            if self.refuses_gradients:
                self._refuse_gradients()
            if not self.sums:
                self._touch()

    @property
    def flight(self) -> Flight | None:
        """The last training forward pass, while something holds its output."""
        return self._flight() if self._flight is not None else None

    def abandon(self) -> None:
        """Gives up the training forward pass in flight, whoever still holds its output."""
        flight = self.flight
        if flight is not None:
            flight.open = flight.kept = False
        self._flight = None
        self.program.discard()

    def _touch(self) -> None:
        """Native code wrote into the parameters: tell autograd."""
        if self.trained():
            torch.autograd.graph.increment_version(self.trained())

    def _refuse_gradients(self) -> None:
        """Makes torch's own clipping and optimizers fail on native parameters instead of skipping them."""
        trained = self.trained()
        if trained and trained[0].grad is not None and trained[-1].grad is not None:
            return  # whoever clears gradients clears all of them
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = NoGradient(parameter)

    # -- persistence -----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Counters and the persistent bytes of the arena (update sets, visited, scores, momentum, sums)."""
        with self._lock, self._on_device():
            regions = {name: self.program.read(offset) for name, offset, _ in self.program.persistent()}
        counters = {k: getattr(self, k) for k in ("steps", "turn", "forwards", "_due")}
        return {"regions": regions, **counters}

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts back what :meth:`state` returned; a forward pass in flight is lost.

        Raises:
            ValueError: it belongs to another plan.
        """
        regions = {n: (o, b) for n, o, b in self.program.persistent()}
        saved = state["regions"]
        if {n: len(v) for n, v in saved.items()} != {n: b for n, (_, b) in regions.items()}:
            raise ValueError("state: it was saved under another plan; expected the same model, budget and settings")
        check_update_sets(self.specs, np.frombuffer(saved.get("indices", b""), np.int32))
        with self._lock, self._on_device():
            self.abandon()  # what it saved belongs to other channels
            for name, data in saved.items():
                self.program.write(regions[name][0], bytes(data))
        for k in ("steps", "turn", "forwards", "_due"):
            setattr(self, k, state[k])
