"""The ways back through one convolution: sparsebp's, and what a user would write in torch."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from convolutions import Shape
from sparsebp.benchmark.timing import Contender
from sparsebp.nn import SparseConv2d
from sparsebp.optim import SGD
from sparsebp.training.standalone_conv import StandaloneConv
from torch import nn

WEIGHT, INPUT, BOTH = "weight", "input", "both"
"""The gradients that a backward pass is asked for."""
TORCH_WAYS = ("dense", "gather", "matmul")
LEARNING_RATE = 1e-9
"""Not zero, so that the update is really done, and too small to change what is timed."""

Gradients = tuple[torch.Tensor | None, torch.Tensor | None]
"""Of the input and of the weight, as far as they are asked for."""
Saved = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""An update set, its features, and a weight of its size."""


class TorchWays:
    """torch's ways back through one convolution. They return gradients; the weight's is still to be applied.

    Args:
        shape: the convolution.
        x: its input [N, C, H, W], channels_last.
        dy: the gradient of its output, likewise.
        weight: [C', C / groups, kernel, kernel], likewise.
        selected: channels of an update set.
    """

    def __init__(self, shape: Shape, x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, selected: int) -> None:
        self.shape, self.x, self.dy, self.weight, self.selected = shape, x, dy, weight, selected

    def contenders(self, gradient: str) -> dict[str, Contender]:
        """``dense``; ``gather`` where the weight's is wanted; ``matmul`` where a convolution is a matrix product.

        ``gather`` copies the set's features out and then asks torch for their weight gradient; ``matmul`` finds them
        copied, as a forward pass that is written for it would have left them.
        """
        found = {"dense": Contender(partial(self._dense, gradient))}
        if gradient != INPUT:
            found["gather"] = Contender(partial(self._gathered, gradient), self._draw)
        if self.shape.kind == "pointwise":
            found["matmul"] = Contender(partial(self._matmul, gradient), self._gather)
        return found

    def _draw(self) -> torch.Tensor:
        """A fresh update set."""
        return torch.randperm(self.shape.inputs)[: self.selected]

    def _gather(self, drawn: torch.Tensor | None = None) -> Saved:
        """The features of an update set. Of the weight a weight gradient needs the size only."""
        channels = self._draw() if drawn is None else drawn
        slices = (self.x.index_select(1, channels), self.weight.index_select(self.shape.channel_dim, channels))
        features, weight = (part.contiguous(memory_format=torch.channels_last) for part in slices)
        return channels, features, weight

    def _backward(
        self, dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, groups: int, gradient: str
    ) -> Gradients:
        stride, padding = [self.shape.stride] * 2, [self.shape.padding] * 2
        mask = [gradient != WEIGHT, gradient != INPUT, False]
        dx, dw, _ = torch.ops.aten.convolution_backward(
            dy, x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, mask
        )
        return dx, dw

    def _dense(self, gradient: str, _: None) -> Gradients:
        """torch's own backward pass; of the input an input gradient needs the size only."""
        return self._backward(self.dy, self.x, self.weight, self.shape.groups, gradient)

    def _gathered(self, gradient: str, drawn: torch.Tensor) -> Gradients:
        """torch's weight gradient of the update set alone; a depthwise one needs the same channels of ``dy``."""
        channels, features, weight = self._gather(drawn)
        dx = self._dense(INPUT, None)[0] if gradient == BOTH else None
        depthwise = self.shape.groups > 1
        dy = self.dy[:, channels] if depthwise else self.dy
        return dx, self._backward(dy, features, weight, self.selected if depthwise else 1, WEIGHT)[1]

    def _matmul(self, gradient: str, saved: Saved) -> Gradients:
        """A 1x1 convolution by whoever knows that it is a matrix product."""
        shape, dx, dw = self.shape, None, None
        dy = _rows(self.dy)
        if gradient != WEIGHT:
            rows = dy @ self.weight.flatten(1)
            dx = rows.view(-1, shape.height, shape.width, shape.inputs).permute(0, 3, 1, 2)
        if gradient != INPUT:
            dw = (dy.t() @ _rows(saved[1]))[:, :, None, None]
        return dx, dw


class SparseWay:
    """sparsebp's way back through one convolution, which ends with the update of a freshly drawn set.

    The forward pass, where the set's features are copied out, is the preparation. For the weight's gradient alone the
    input does not require grad; for the input's alone nothing of the convolution trains.

    Args:
        conv: copied.
        x: its input.
        dy: the gradient of its output.
        gradient: which.
        ratio: share of the channels.
    """

    def __init__(self, conv: nn.Conv2d, x: torch.Tensor, dy: torch.Tensor, gradient: str, ratio: float) -> None:
        self._x, self._dy = x.detach().requires_grad_(gradient != WEIGHT), dy
        self.module = SparseConv2d(copy.deepcopy(conv), ratio)
        self._optimizer = SGD(self.module.parameters(), lr=LEARNING_RATE)
        self._runner = self.module.runner()
        if gradient == INPUT:
            self._runner = _Frozen(self.module.conv, self.module.selected, None, self.module.sampler)
            self._runner.attach(self._optimizer, {})

    def contender(self) -> Contender:
        """Runs forward untimed, and back."""
        return Contender(self._backward, self._forward)

    def gradients(self) -> Gradients:
        """Of the input, and of the whole weight: what one step subtracts from it at a learning rate of 1."""
        weight, group = self.module.weight, self._optimizer.param_groups[0]
        before, group["lr"] = weight.detach().clone(), 1.0
        dx = self._backward(self._forward())
        dw = before - weight.detach()
        with torch.no_grad():
            weight.copy_(before)
        group["lr"] = LEARNING_RATE
        return dx, dw

    def _forward(self) -> Any:
        self._optimizer.step()  # the next forward pass draws an update set
        return self._runner.forward(self._x)[1]

    def _backward(self, flight: Any) -> torch.Tensor | None:
        return self._runner.backward(flight, self._dy)[0]


class _Frozen(StandaloneConv):
    """Saves nothing and trains nothing: what is left of its backward pass is the gradient of the input."""

    def _build(self, x: torch.Tensor, input_grad: bool, made_for: tuple[object, ...], trains: bool = True) -> Any:
        return super()._build(x, input_grad, made_for, trains=False)


def _rows(image: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W], channels_last, as the matrix [N * H * W, C] that it is."""
    return image.permute(0, 2, 3, 1).flatten(0, 2)
