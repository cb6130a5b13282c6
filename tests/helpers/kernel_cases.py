"""One convolution for a kernel: its tensors, its gradients in float64 torch, and what the native kernels make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import gpu
import torch
from networks import assert_within_rounding
from sparsebp.samplers import Sampler
from sparsebp.training.autograd import ConvFunction
from sparsebp.training.standalone_conv import StandaloneConv
from torch import nn


class Chosen(Sampler):
    """The given channels, in the given order."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(0)
        self.channels = channels

    def select(self, name: str, channels: int, count: int, turn: int) -> Sequence[int]:
        return self.channels


@dataclass(frozen=True)
class Case:
    """A convolution and the size of its input."""

    channels: int
    out: int
    kernel: int | tuple[int, int]
    size: tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | str | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    images: int = 2
    bias: bool = True

    def __str__(self) -> str:
        def pair(v: object) -> str:
            return "x".join(map(str, v)) if isinstance(v, tuple) else str(v)

        text = f"{self.channels}to{self.out}_k{pair(self.kernel)}_at{pair(self.size)}"
        for letter, name, usual in (
            ("s", "stride", 1),
            ("p", "padding", 0),
            ("d", "dilation", 1),
            ("g", "groups", 1),
        ):
            value = getattr(self, name)
            if value != usual:
                text += f"_{letter}{pair(value)}"
        return text if self.images == 2 else f"{text}_n{self.images}"

    def conv(self, dtype: torch.dtype) -> nn.Conv2d:
        """The convolution with the weights that the reference uses."""
        conv = nn.Conv2d(
            self.channels,
            self.out,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.bias,
            dtype=dtype,
        )
        _, weight, bias, _ = tensors(self)
        with torch.no_grad():
            conv.weight.copy_(weight)
            if conv.bias is not None and bias is not None:
                conv.bias.copy_(bias)
        return conv

    def forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return nn.functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


@lru_cache(maxsize=8)
def tensors(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """x, weight, bias and dy: float64 numbers that float32 holds too."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).double()

    kernel = case.kernel if isinstance(case.kernel, tuple) else (case.kernel, case.kernel)
    x = draw(case.images, case.channels, *case.size)
    weight = draw(case.out, case.channels // case.groups, *kernel)
    bias = draw(case.out) if case.bias else None
    return x, weight, bias, draw(*case.forward(x, weight, bias).shape)


Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


@lru_cache(maxsize=8)
def reference(case: Case, magnitudes: bool = False) -> Gradients:
    """y, dx, dW and db by torch in float64; with ``magnitudes``, those of the absolute values."""
    x, weight, bias, dy = (None if t is None else t.abs() if magnitudes else t.clone() for t in tensors(case))
    leaves = [t.requires_grad_() for t in (x, weight, bias) if t is not None]
    y = case.forward(x, weight, bias)  # type: ignore[arg-type]
    grads = torch.autograd.grad(y, leaves, dy)
    return y.detach(), grads[0], grads[1], grads[2] if case.bias else None


def native(case: Case, selected: Sequence[int], dtype: torch.dtype, isa: str) -> Gradients:
    """The same natively, with ``selected`` channels trained."""
    conv = gpu.place(case.conv(dtype))
    runner = StandaloneConv(conv, len(selected), None, Chosen(selected), isa="" if gpu.NAME else isa)
    x, _, _, dy = tensors(case)
    x = gpu.place(x.to(dtype, copy=True)).requires_grad_()
    with gpu.active():
        y = ConvFunction.apply(x, conv.weight, conv.bias, runner)
        y.backward(gpu.place(dy.to(dtype)))
    assert runner.last is not None
    assert runner.last.program.isa == isa
    bias = None if conv.bias is None else conv.bias.grad.cpu()
    return y.detach().cpu(), x.grad.cpu(), conv.weight.grad.cpu(), bias


def check(case: Case, selected: Sequence[int], dtype: torch.dtype, isa: str) -> None:
    """Output and every gradient are the reference's; the weight's for the selected channels, else zero."""
    y, dx, dweight, dbias = native(case, selected, dtype, isa)
    y_ref, dx_ref, dweight_ref, dbias_ref = reference(case)
    y_size, dx_size, dweight_size, dbias_size = reference(case, True)
    weight = tensors(case)[1]
    pixels = case.images * y.shape[2] * y.shape[3]
    assert_within_rounding(y, y_ref, y_size, weight[0].numel() + 1)
    assert_within_rounding(dx, dx_ref, dx_size, weight[0, 0].numel() * case.out // case.groups)
    # Input channel c is column c % (channels per group) of its group's output channels, and of no others.
    kept = torch.zeros_like(weight)
    per_group = case.channels // case.groups
    for c in selected:
        outputs = torch.arange(case.out).view(case.groups, -1)[c // per_group]
        kept[outputs, c % per_group] = 1
    assert bool((dweight[kept == 0] == 0).all())
    assert_within_rounding(dweight, dweight_ref * kept, dweight_size * kept, pixels)
    if case.bias:
        assert dbias is not None
        assert_within_rounding(dbias, dbias_ref, dbias_size, pixels)
