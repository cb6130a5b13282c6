"""The backward pass of single convolutions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from sparsebp.benchmark.timing import Contender, interleave, medians
from sparsebp.nn import SparseConv2d
from sparsebp.optim import SGD
from torch import nn

SHAPES = Path(__file__).parent / "shapes" / "mobilenet_v2.txt"
SHAPES_SIZE = 224
"""The image size at which the heights and widths of ``SHAPES`` hold."""
IMAGE_CHANNELS = 3
"""A layer with so few input channels reads the image, which needs no gradient."""
LEARNING_RATE = 1e-9
"""Not zero, so that the update is really done, and too small to change what is timed."""
SECONDS = 1.5
"""After which no further round of a layer starts: a slow machine gets fewer rounds, not a longer run."""


@dataclass(frozen=True)
class Shape:
    """A convolution and its input; ``name`` is the first of ``count`` layers with this shape."""

    name: str
    kind: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    groups: int
    height: int
    width: int
    count: int = 1

    @property
    def input_grad(self) -> bool:
        """Whether anything below this layer can want a gradient."""
        return self.inputs > IMAGE_CHANNELS

    def __str__(self) -> str:
        """``96 > 576, 14x14``, with kernel and stride where they are not 1."""
        text = f"{self.inputs} > {self.outputs}, {self.height}x{self.width}"
        text += f", {self.kernel}x{self.kernel}" if self.kernel > 1 else ""
        return text + (f"/{self.stride}" if self.stride > 1 else "")


@dataclass(frozen=True)
class LayerResult:
    """Median milliseconds of one backward pass by contender, their number, and the channels that train."""

    shape: Shape
    selected: int
    rounds: int
    ms: dict[str, float]

    def ratio(self, contender: str) -> float:
        """How many times as long as sparsebp the contender takes."""
        return self.ms[contender] / self.ms["sparsebp"]


def read_shapes(size: int, pattern: str = "*") -> list[Shape]:
    """The distinct layers whose name matches the glob ``pattern``, for images of ``size`` pixels.

    Raises:
        ValueError: no layer matches.
    """
    distinct: dict[Shape, Shape] = {}
    for line in SHAPES.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, kind, *numbers = line.split()
        if not fnmatchcase(name, pattern):
            continue
        shape = Shape(name, kind, *map(int, numbers))
        # A stride of 2 halves and rounds up, so what a layer reads is the image over a power of two.
        height, width = (-(-size * side // SHAPES_SIZE) for side in (shape.height, shape.width))
        shape = replace(shape, height=height, width=width)
        key = replace(shape, name="")
        known = distinct.get(key, replace(shape, count=0))
        distinct[key] = replace(known, count=known.count + 1)
    if not distinct:
        raise ValueError(f"no layer in {SHAPES.name} matches {pattern!r}")
    return list(distinct.values())


class LayerCase:
    """One convolution with its input and the gradient of its output, and the ways back through it.

    All compute the exact gradient of the input. sparsebp then applies its update in place; the others
    return a weight gradient that is still to be applied. What belongs to the forward pass, such as
    copying the selected channels, is not timed for any of them.
    """

    def __init__(self, shape: Shape, batch: int, ratio: float) -> None:
        self.shape = shape
        kernel, stride, padding = shape.kernel, shape.stride, shape.padding
        conv = nn.Conv2d(shape.inputs, shape.outputs, kernel, stride, padding, groups=shape.groups, bias=False)
        self.weight = conv.weight.detach().clone().contiguous(memory_format=torch.channels_last)
        x = torch.randn(batch, shape.inputs, shape.height, shape.width)
        self.x = x.contiguous(memory_format=torch.channels_last).requires_grad_(shape.input_grad)
        self.dy = torch.randn_like(conv(self.x).detach())
        module = SparseConv2d(conv, ratio)
        self.selected = module.selected
        self._optimizer = SGD(module.parameters(), lr=LEARNING_RATE)
        self._runner = module.runner()

    def contenders(self) -> dict[str, Contender]:
        """``sparsebp``, ``dense``, ``slice`` and, where a convolution is a matrix product, ``matmul``."""
        out = {
            "sparsebp": Contender(self._sparse, self._sparse_forward),
            "dense": Contender(self._dense),
            "slice": Contender(self._slice, self._gather),
        }
        if self.shape.kind == "pointwise":
            out["matmul"] = Contender(self._matmul, self._gather)
        return out

    def _sparse_forward(self) -> Any:
        self._optimizer.step()  # the next forward pass draws an update set
        return self._runner.forward(self.x)[1]

    def _sparse(self, flight: Any) -> torch.Tensor | None:
        return self._runner.backward(flight, self.dy)[0]

    def _convolution_backward(
        self, dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, groups: int, mask: tuple[bool, bool]
    ) -> torch.Tensor | None:
        stride, padding = [self.shape.stride] * 2, [self.shape.padding] * 2
        dx, _, _ = torch.ops.aten.convolution_backward(
            dy, x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, [*mask, False]
        )
        return dx

    def _dense(self, _: None) -> torch.Tensor | None:
        """torch's own backward pass."""
        mask = (self.shape.input_grad, True)
        return self._convolution_backward(self.dy, self.x.detach(), self.weight, self.shape.groups, mask)

    def _gather(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What a forward pass in torch would save: an update set and its features."""
        channels = torch.randperm(self.shape.inputs)[: self.selected]
        return channels, self.x.detach()[:, channels].contiguous(memory_format=torch.channels_last)

    def _slice(self, saved: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor | None:
        """torch's gradient of the input, and torch's weight gradient on the selected channels."""
        channels, x = saved
        dx = None
        if self.shape.input_grad:  # of the input it needs the shape only
            mask = (True, False)
            dx = self._convolution_backward(self.dy, self.x.detach(), self.weight, self.shape.groups, mask)
        if self.shape.groups == 1:
            self._convolution_backward(self.dy, x, self.weight[:, channels], 1, (False, True))
        else:
            dy, weight = self.dy[:, channels], self.weight[channels]
            self._convolution_backward(dy, x, weight, self.selected, (False, True))
        return dx

    def _matmul(self, saved: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """A 1x1 convolution by whoever knows that it is a matrix product."""
        dy = self.dy.permute(0, 2, 3, 1).flatten(0, 2)
        x = saved[1].permute(0, 2, 3, 1).flatten(0, 2)
        dx = dy @ self.weight.flatten(1)
        _ = dy.t() @ x
        return dx.view(-1, self.shape.height, self.shape.width, self.shape.inputs).permute(0, 3, 1, 2)

    def check(self) -> None:
        """Raises AssertionError unless all find the same gradient of the input."""
        if not self.shape.input_grad:
            return
        found = {name: c.run(c.prepare()) for name, c in self.contenders().items()}
        dense = found.pop("dense")
        for name, dx in found.items():
            # Float32 sums in another order: their error is relative to the largest terms.
            error = float((dx - dense).abs().max() / dense.abs().max())
            if error > 1e-5:
                raise AssertionError(f"{self.shape.name}: input gradient of {name} is off by {error:.1e}")


def measure(shapes: Iterable[Shape], batch: int, ratio: float, rounds: int) -> list[LayerResult]:
    """Times every shape after checking that the contenders agree."""
    results = []
    for shape in shapes:
        case = LayerCase(shape, batch, ratio)
        case.check()
        times = interleave(case.contenders(), rounds, SECONDS)
        results.append(LayerResult(shape, case.selected, len(times["sparsebp"]), medians(times)))
    return results
