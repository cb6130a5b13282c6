"""A native program of one convolution, made anew for every input shape."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .. import _C
from ..capture.layer import LayerTensors, Value
from ..errors import BudgetExceeded
from ..planning.lowering import conv_program
from ..samplers import Sampler
from .bound_program import OWNERS
from .engine import Engine
from .engine_state import check_counters, check_plan, draws, go_on
from .forward_pass import ForwardPass
from .protocol import RuleSource
from .weight_memory import sources_of


@dataclass
class _Program:
    made_for: tuple[object, ...]
    engine: Engine
    output: Value


class StandaloneConv:
    """Runs one ``Conv2d`` natively and trains ``selected`` of its input channels at a time.

    Args:
        conv: the convolution; its parameters stay where they are, reordered in place.
        selected: input channels per step.
        budget: bytes of the arena, or None for what the program needs.
        sampler: draws the channels.
        isa: instruction set; empty takes the best.
        name: what samplers know it by.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        selected: int,
        budget: int | None,
        sampler: Sampler,
        isa: str = "",
        name: str = "conv",
    ) -> None:
        self.conv = conv
        self.name = name
        self.selected = selected
        self.budget = budget
        self.sampler = sampler
        self.isa = isa
        self._training: _Program | None = None
        self._inference: _Program | None = None  # it holds no training memory
        self._loaded: Mapping[str, Any] | None = None  # what the first program goes on with
        self._optimizer: weakref.ref[RuleSource] | None = None
        self._slots: dict[tuple[int, int], int] = {}

    # -- what a sparsebp optimizer sees: the same as an Engine ------------------------------------

    #: No memory is reserved for either.
    momentum = False
    normalise = False
    #: Under an optimizer of ours the update is applied in place.
    sums = False

    @property
    def optimizer(self) -> RuleSource | None:
        """The attached optimizer, while it lives."""
        return self._optimizer() if self._optimizer is not None else None

    @property
    def in_place(self) -> bool:
        """Whether a sparsebp optimizer trains the weights; otherwise autograd gets gradients."""
        return self.optimizer is not None

    def own_parameters(self) -> None:
        """Registers the parameters, so that an optimizer finds this convolution through them."""
        for i, parameter in enumerate((self.conv.weight, self.conv.bias)):
            if parameter is not None:
                OWNERS[parameter] = (weakref.ref(self), (0, i))

    @property
    def groups(self) -> Iterable[int]:
        """The parameter groups of the attached optimizer that train this convolution."""
        return set(self._slots.values())

    def attach(self, optimizer: RuleSource, slots: dict[tuple[int, int], int]) -> None:
        """Makes ``optimizer`` the source of the training rules."""
        self._optimizer = weakref.ref(optimizer)
        self._slots = dict(slots)
        if self.last is not None:
            self.last.attach(optimizer, slots)

    def finish_step(self) -> None:
        """The optimizer's step: the next training forward draws, if a backward pass has used the last draw."""
        if self.last is not None:
            self.last.finish_step()

    def forget_sums(self, set_to_none: bool = True) -> None:
        """Nothing: gradients are applied at once or belong to autograd."""

    def sum_views(self) -> list[torch.Tensor]:
        """None, for the same reason."""
        return []

    # -- programs --------------------------------------------------------------------------------

    @property
    def last(self) -> Engine | None:
        """The program of the last training forward pass."""
        return self._training.engine if self._training is not None else None

    def program(self, x: torch.Tensor, input_grad: bool) -> _Program:
        """The program for inputs like ``x``. One shape is kept: a new one goes on where the last was.

        Raises:
            BudgetExceeded: the budget does not hold this shape.
        """
        made_for = (x.dtype, x.device, *x.shape, self.in_place, input_grad)
        if self._training is None or self._training.made_for != made_for:
            made = self._build(x, input_grad, made_for)
            before = self._state()
            if before is not None:
                go_on(made.engine, before)
            if self.last is not None:
                made.engine.untried = self.last.untried
            self._training, self._loaded = made, None
        return self._training

    def _build(self, x: torch.Tensor, input_grad: bool, made_for: tuple[object, ...], trains: bool = True) -> _Program:
        conv = self.conv
        spec, output = conv_program(conv, self.name, x, self.selected, trains)
        spec.input_grad = input_grad
        spec.sums = trains and not self.in_place
        spec.scores = trains and self.sampler.needs_scores
        need = _C.Program(spec, x.dtype == torch.float64, self.isa).training_peak
        if self.budget is not None and need > self.budget:
            raise BudgetExceeded(
                f"SparseConv2d: an input {list(x.shape)} needs {need:,} bytes, the budget is {self.budget:,}",
                need,
                self.budget,
            )
        budget = (self.budget or need) if trains else need
        engine = Engine(
            spec, [sources_of(conv, LayerTensors("weight", "bias"))], budget, self.sampler, 1, x.dtype, self.isa
        )
        optimizer = self.optimizer
        if optimizer is not None:
            engine.attach(optimizer, self._slots)
        return _Program(made_for, engine, output)

    def infer(self, x: torch.Tensor) -> torch.Tensor:
        """Forward without saving anything."""
        made, made_for = self._inference, (x.dtype, x.device, *x.shape)
        if made is None or made.made_for != made_for:
            made = self._inference = self._build(x, False, made_for, trains=False)
        made.engine.rebind_if_moved()
        x = x.detach().contiguous(memory_format=torch.channels_last)
        y = self._empty(x, made.output)
        made.engine.infer(0, 1, x.data_ptr(), y.data_ptr(), x.shape[0], False)
        return y

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ForwardPass]:
        """A training forward pass. It draws new channels once those of the last draw have trained.

        Under a sparsebp optimizer it takes the place of an earlier one that still waits for its backward pass, also of
        one of another shape, whose backward pass would change the weights of this one.
        """
        if self.in_place and self.last is not None:
            self.last.supersede()
        made = self.program(x, x.requires_grad)
        engine = made.engine
        engine.rebind_if_moved()
        x = x.detach().contiguous(memory_format=torch.channels_last)
        y = self._empty(x, made.output)
        forward_pass = engine.forward(0, 1, x.data_ptr(), y.data_ptr(), x.shape[0])
        forward_pass.context = (engine, tuple(x.shape))
        return y, forward_pass

    def backward(
        self, forward_pass: ForwardPass, dy: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Gradients of input, weight (dense, zero outside the update set) and bias."""
        engine, shape = forward_pass.context
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = None
        if engine.input_grad:
            dx = torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=torch.channels_last)
        address = dx.data_ptr() if dx is not None else 0
        if not engine.sums:
            engine.check_incoming(forward_pass, dy)
            engine.backward(forward_pass, dy.data_ptr(), address)
            return dx, None, None
        sums = engine.layer_sums(0)
        for view in sums.values():
            view.zero_()
        engine.backward(forward_pass, dy.data_ptr(), address, keep=True)
        if self.last is not None:  # another engine, if there was a forward pass of another shape since
            self.last.due, self.last.pending = True, False  # when torch's optimizer takes its step is not seen
        return (
            dx,
            self._dense(engine, sums["weight"]),
            sums["bias"].clone() if "bias" in sums else None,
        )

    def _dense(self, engine: Engine, rows: torch.Tensor) -> torch.Tensor:
        conv = self.conv
        kh, kw = conv.kernel_size
        channels = torch.tensor(engine.program.indices(0), dtype=torch.int64, device=rows.device)
        per_group, out_per_group = conv.in_channels // conv.groups, conv.out_channels // conv.groups
        # [group, tap, tap, input channel of the group, output channel of the group]
        grad = rows.new_zeros(conv.groups, kh, kw, per_group, out_per_group)
        rows = rows.view(len(channels), kh, kw, out_per_group)
        grad[channels // per_group, :, :, channels % per_group] = rows
        return grad.permute(0, 4, 3, 1, 2).reshape(conv.weight.shape)

    @staticmethod
    def _empty(x: torch.Tensor, value: Value) -> torch.Tensor:
        shape = (x.shape[0], value.channels, value.height, value.width)
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)

    # -- persistence -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What programs of any shape need to go on elsewhere, as tensors and plain data."""
        return {"plan": self._plan(), "program": self._state()}

    def _state(self) -> Mapping[str, Any] | None:
        """That of the last program; None if nothing has trained yet."""
        return self.last.state_dict() if self.last is not None else self._loaded

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError unless :meth:`load_state_dict` can take it."""
        self._checked(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what :meth:`state_dict` returned; a forward pass in flight is lost.

        Raises:
            ValueError: it belongs to another convolution.
        """
        loaded = self._checked(state)
        if self.last is not None:
            self.last.abandon()
        self._training, self._loaded = None, loaded

    def _checked(self, state: Mapping[str, Any]) -> dict[str, Any] | None:
        """The state of a program, as far as that can be told without one."""
        check_plan(state.get("plan"), self._plan())
        program = state.get("program", "none")
        if program is None:
            return None
        if not isinstance(program, dict):
            raise ValueError(f"state: program: expected what was saved, got {program!r}")
        # Earlier versions counted beside the program.
        program = {**program, **{name: state[name] for name in ("turn", "due", "pending") if name in state}}
        check_counters(program)
        return program

    def _plan(self) -> dict[str, Any]:
        return {"channels": {self.name: self.selected}, "shape": list(self.conv.weight.shape), **draws(self.sampler, 1)}
