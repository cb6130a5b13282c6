"""The autograd Functions behind which native programs run."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from .passes import Passes


class SpanFunction(torch.autograd.Function):
    """The span of a converted model: features in, output out; its backward pass is also the update.

    It takes one anchor that requires grad instead of every parameter, which would cost more time a step
    than the bookkeeping of the whole program.
    """

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, passes: Passes, x: torch.Tensor, first: int) -> torch.Tensor:
        y, ctx.flight = passes.forward(x, first)
        ctx.flight.node = weakref.ref(ctx)
        ctx.passes = passes
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[None, None, None, None]:
        ctx.passes.backward(ctx.flight, dy)
        return None, None, None, None


class ConvFunction(torch.autograd.Function):
    """One convolution inside any autograd graph; see :class:`sparsebp.nn.SparseConv2d`.

    ``runner`` is a :class:`sparsebp.single.SingleConv`; gradients of the weight are dense with zeros
    outside the update set.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, runner: Any
    ) -> torch.Tensor:
        y, ctx.flight = runner.forward(x)
        ctx.flight.node = weakref.ref(ctx)
        ctx.runner = runner
        ctx.save_for_backward(weight)
        return y  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        if not ctx.runner.in_place:
            _ = ctx.saved_tensors  # raises if the weight has changed since the forward pass
        dx, dweight, dbias = ctx.runner.backward(ctx.flight, dy)
        wanted = ctx.needs_input_grad
        return (
            dx if wanted[0] else None,
            dweight if wanted[1] else None,
            dbias if wanted[2] else None,
            None,
        )
