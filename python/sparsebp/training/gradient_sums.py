"""Gradients that are summed in the arena until a step ends, and the images that they are of."""

from __future__ import annotations

import torch

from .. import devices
from .bound_program import BoundProgram
from .counters import Counters


class GradientSums(BoundProgram, Counters):
    """The gradient sums of a program that has some.

    Attributes:
        images: that went through the network for these sums, those among them that needed no backward pass.
    """

    images = 0

    def layer_sums(self, layer: int) -> dict[str, torch.Tensor]:
        """A layer's gradient sums by parameter: ``weight`` is [selected, kh, kw, out / groups], flat."""
        if not self.sums:
            return {}
        out = {}
        for name in ("weight", "bias", "beta"):
            offset, size = self.program.sum_region(layer, name)
            if size:
                out[name] = self._view(offset, size)
        return out

    def sum_views(self) -> list[torch.Tensor]:
        """The gradient sums inside the arena as flat tensors, one per trained parameter."""
        layers = range(len(self.specs)) if self.sums else ()
        return [view for i in layers for view in self.layer_sums(i).values()]

    def whole_sums(self) -> torch.Tensor:
        """All of them, which lie behind one another, as one flat tensor."""
        offset, size = next((at, size) for name, at, size in self.program.persistent() if name == "sums")
        return self._view(offset, size)

    def forget_sums(self, set_to_none: bool = True) -> None:
        """Clears the gradient sums; with ``set_to_none``, as in torch, until a backward pass there is no step to do."""
        self.images = 0
        for region in self.sum_views():
            region.zero_()
        if self.sums and set_to_none:
            self.pending = False

    def _view(self, offset: int, size: int) -> torch.Tensor:
        arena, count = self.program.arena, size // self.dtype.itemsize
        return devices.memory_view(arena, arena.address + offset, count, self.dtype, self.device)
