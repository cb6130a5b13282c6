"""The backward pass of single convolutions: three measurements of each, checked before they are timed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from convolutions import Shape
from sparsebp.benchmark.timing import Contender, Effort, Quartiles, interleave
from torch import nn
from ways import BOTH, INPUT, WEIGHT, Gradients, SparseWay, TorchWays

TOLERANCE = 1e-5
"""Float32 sums in another order: their error is relative to the largest terms."""


@dataclass(frozen=True)
class LayerResult:
    """One convolution.

    Attributes:
        shape: of the convolution and its input.
        selected: channels of an update set.
        rounds: behind the medians.
        times: milliseconds of one backward pass, by gradient and contender.
    """

    shape: Shape
    selected: int
    rounds: int
    times: dict[str, dict[str, Quartiles]]

    def ratios(self, gradient: str) -> dict[str, float]:
        """How many times as long as sparsebp each of torch's ways takes; empty if nobody needs this gradient."""
        times = dict(self.times.get(gradient, {}))
        ours = times.pop("sparsebp", None)
        return {} if ours is None else {name: q.median / ours.median for name, q in times.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data with what follows from it."""
        return asdict(self) | {"ratios": {gradient: self.ratios(gradient) for gradient in self.times}}


class LayerCase:
    """One convolution with its input and the gradient of its output, and the ways back through it.

    All compute the exact gradient of the input. sparsebp applies its weight gradient in place; the others return
    theirs. What belongs to the forward pass, such as copying the selected channels, is not timed for any of them.
    """

    def __init__(self, shape: Shape, batch: int, ratio: float) -> None:
        self.shape = shape
        kernel, stride, padding = shape.kernel, shape.stride, shape.padding
        conv = nn.Conv2d(shape.inputs, shape.outputs, kernel, stride, padding, groups=shape.groups, bias=False)
        x = torch.randn(batch, shape.inputs, shape.height, shape.width).contiguous(memory_format=torch.channels_last)
        dy = torch.randn_like(conv(x).detach())
        weight = conv.weight.detach().clone().contiguous(memory_format=torch.channels_last)
        gradients = (WEIGHT, INPUT, BOTH) if shape.input_grad else (WEIGHT,)
        self._sparse = {gradient: SparseWay(conv, x, dy, gradient, ratio) for gradient in gradients}
        self.selected = self._sparse[WEIGHT].module.selected
        self._torch = TorchWays(shape, x, dy, weight, self.selected)

    def contenders(self) -> dict[tuple[str, str], Contender]:
        """All of them by gradient and name."""
        found: dict[tuple[str, str], Contender] = {}
        for gradient, sparse in self._sparse.items():
            ways = {"sparsebp": sparse.contender(), **self._torch.contenders(gradient)}
            found |= {(gradient, name): way for name, way in ways.items()}
        return found

    def check(self) -> None:
        """Raises AssertionError unless all find the same gradients."""
        dim = self.shape.channel_dim
        for gradient, sparse in self._sparse.items():
            ways = self._torch.contenders(gradient)
            dx, dw = ways.pop("dense").run(None)
            for name, way in ways.items():
                saved = way.prepare()
                found = way.run(saved)
                channels = saved if name == "gather" else saved[0] if saved is not None else None
                self._compare(name, found, (dx, None if dw is None else dw.index_select(dim, channels)))
            found = sparse.gradients()
            if dw is not None:
                channels = sparse.module.channels
                dw = torch.zeros_like(dw).index_copy(dim, channels, dw.index_select(dim, channels))
            self._compare("sparsebp", found, (dx, dw))

    def _compare(self, name: str, found: Gradients, expected: Gradients) -> None:
        for what, a, b in zip(("input", "weight"), found, expected, strict=True):
            if b is None:  # not asked for
                continue
            assert a is not None
            error = float((a - b).abs().max() / b.abs().max())
            if not error <= TOLERANCE:
                raise AssertionError(f"{self.shape.name}: the {what} gradient of {name} is off by {error:.1e}")


def measure(shapes: Iterable[Shape], batch: int, ratio: float, effort: Effort) -> list[LayerResult]:
    """Times every shape, ``effort`` for each, after checking that the contenders agree."""
    results = []
    for shape in shapes:
        case = LayerCase(shape, batch, ratio)
        case.check()
        found = interleave(case.contenders(), effort)
        times: dict[str, dict[str, Quartiles]] = {}
        for (gradient, name), values in found.items():
            times.setdefault(gradient, {})[name] = Quartiles.of(values)
        results.append(LayerResult(shape, case.selected, min(map(len, found.values())), times))
    return results
