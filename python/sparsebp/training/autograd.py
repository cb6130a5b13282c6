"""The autograd Functions behind which native programs run."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from .forward_pass import ForwardPass


class Runner(Protocol):
    """Runs the span of a network; see :class:`sparsebp.training.network_runner.NetworkRunner`."""

    def forward(self, x: torch.Tensor, first: int) -> tuple[torch.Tensor, ForwardPass]:
        """A training pass from op ``first`` on."""

    def backward(self, forward_pass: ForwardPass, dy: torch.Tensor) -> None:
        """The backward pass, which is also the update."""


class SpanFunction(torch.autograd.Function):
    """The span of a converted model: features in, output out; its backward pass is also the update.

    It takes one anchor that requires grad instead of every parameter, which would cost more time a step
    than the bookkeeping of the whole program.
    """

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, runner: Runner, x: torch.Tensor, first: int) -> torch.Tensor:
        y, ctx.forward_pass = runner.forward(x, first)
        ctx.forward_pass.node = weakref.ref(ctx)
        ctx.runner = runner
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[None, None, None, None]:
        ctx.runner.backward(ctx.forward_pass, dy)
        return None, None, None, None


class ConvFunction(torch.autograd.Function):
    """One convolution inside any autograd graph; see :class:`sparsebp.nn.SparseConv2d`.

    ``runner`` is a :class:`sparsebp.training.standalone_conv.StandaloneConv`; gradients of the weight are dense, with
    zeros outside the update set.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, runner: Any
    ) -> torch.Tensor:
        y, ctx.forward_pass = runner.forward(x)
        ctx.forward_pass.node = weakref.ref(ctx)
        ctx.runner = runner
        ctx.save_for_backward(weight)
        return y  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        if not ctx.runner.in_place:
            _ = ctx.saved_tensors  # raises if the weight has changed since the forward pass
        dx, dweight, dbias = ctx.runner.backward(ctx.forward_pass, dy)
        wanted = ctx.needs_input_grad
        return (
            dx if wanted[0] else None,
            dweight if wanted[1] else None,
            dbias if wanted[2] else None,
            None,
        )
