"""A native program and the parameters that it runs on, wherever they are."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from .. import _C, devices
from .weight_memory import Sources, Weights, place

#: Which program trains a parameter in place, and in which rule slot.
OWNERS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


class BoundProgram:
    """One native program and its weights, which may be moved or replaced.

    Args:
        spec: of the program.
        layers: per native layer the module that holds weight and bias, and its batch norm or None.
        budget: bytes of the arena.
        dtype: element type of the program; it runs where the weights are.
        isa: instruction set; empty takes the best.
    """

    weights: Weights

    def __init__(
        self,
        spec: _C.ProgramSpec,
        layers: Sequence[Sources],
        budget: int,
        dtype: torch.dtype,
        isa: str,
    ) -> None:
        self.spec = spec
        self.specs = list(spec.layers)
        self.sums = bool(spec.sums)
        self.dtype = dtype
        self.device = place(layers)
        self._make_program = partial(devices.make_program, spec, budget, dtype, isa)
        self.program = self._make_program(self.device)
        self._owns = False  # are the trained parameters registered with this program

    def bind(self, layers: Sequence[Sources]) -> None:
        """Tells the program where its weights are, after bringing them into the kernels' order."""
        self.weights = Weights(self.program, self.specs, layers, self.dtype, self.device)

    def _move(self, device: torch.device) -> None:
        """Goes on where the weights are now."""
        program = self._make_program(device)
        weights = Weights(program, self.specs, self.weights.layers, self.dtype, device)
        self.program, self.weights, self.device = program, weights, device

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

    def _on_device(self) -> AbstractContextManager[object]:
        """What native code starts inside follows what torch has started."""
        self.program.set_stream(devices.stream_of(self.device))
        return devices.chosen(self.device)

    def _touch(self) -> None:
        """Native code wrote into the parameters: tell autograd."""
        if self.trained():
            torch.autograd.graph.increment_version(self.trained())
