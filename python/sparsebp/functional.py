"""Stateless ops, each with its reference in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from . import devices
from .samplers import Static
from .training.autograd import ConvFunction
from .training.standalone_conv import StandaloneConv

__all__ = ["sparse_conv2d", "sparse_conv2d_reference"]

Pair = int | tuple[int, int]


def sparse_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    channels: Sequence[int] | None = None,
) -> torch.Tensor:
    """``torch.nn.functional.conv2d`` whose weight gradient covers only some input channels.

    Output and input gradient are exact; the weight gradient is zero outside ``channels``, and only the
    features of ``channels`` are kept for it. Stateless: the weight is copied to the kernels' layout on
    every call (:class:`sparsebp.nn.SparseConv2d` keeps it there).

    Args:
        x: [N, C, H, W], float32 or float64; float32 on a GPU.
        weight: [C', C / groups, kh, kw].
        bias: [C'] or None.
        stride, padding, dilation, groups: as in torch.
        channels: different input channels in any order; None trains all.

    Raises:
        TypeError, ValueError: a dtype, device, shape or channel does not fit.
    """
    _check(x, weight, bias, groups)
    inputs = x.shape[1]
    chosen = list(range(inputs)) if channels is None else [int(c) for c in channels]
    if not chosen:
        raise ValueError("channels: expected at least one channel, or None for all")
    if len(set(chosen)) < len(chosen) or not 0 <= min(chosen) <= max(chosen) < inputs:
        raise ValueError(f"channels: expected different numbers from 0 to {inputs - 1}, got {chosen}")
    conv = nn.utils.skip_init(
        nn.Conv2d, inputs, weight.shape[0], tuple(weight.shape[2:]), stride, padding, dilation, groups,
        bias is not None, device=x.device, dtype=x.dtype,
    )  # fmt: skip
    conv.weight = nn.Parameter(weight.detach().clone())
    conv.bias = None if bias is None else nn.Parameter(bias.detach().contiguous())
    runner = StandaloneConv(conv, len(chosen), None, Static(0, {"conv": chosen}))
    if not torch.is_grad_enabled():
        return runner.infer(x)
    return ConvFunction.apply(x, weight, bias, runner)  # type: ignore[no-any-return]


def sparse_conv2d_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    channels: Sequence[int] | None = None,
) -> torch.Tensor:
    """What :func:`sparse_conv2d` computes, by torch's dense convolution on a partly detached weight.

    Args:
        x, weight, bias, stride, padding, dilation, groups, channels: as for :func:`sparse_conv2d`.
    """
    if channels is not None:
        per_group_in, per_group_out = x.shape[1] // groups, weight.shape[0] // groups
        trains = torch.zeros(weight.shape[:2], dtype=torch.bool, device=weight.device)
        for c in channels:
            group = c // per_group_in
            trains[group * per_group_out : (group + 1) * per_group_out, c % per_group_in] = True
        weight = torch.where(trains[:, :, None, None], weight, weight.detach())
    return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int) -> None:
    if x.dim() != 4 or weight.dim() != 4:
        raise ValueError(f"x, weight: expected 4 dimensions each, got {list(x.shape)} and {list(weight.shape)}")
    if groups < 1 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(
            f"weight: expected [C', {x.shape[1]} / groups, kh, kw] with groups dividing both, "
            f"got {list(weight.shape)} with groups={groups}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias: expected [{weight.shape[0]}], got {list(bias.shape)}")
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.dtype not in (torch.float32, torch.float64) or tensor.dtype != x.dtype:
            raise TypeError(f"{name}: expected one dtype, float32 or float64, got {tensor.dtype}, x has {x.dtype}")
        if tensor.device != x.device:
            raise ValueError(f"{name}: it is on {tensor.device}, x on {x.device}; expected one device")
    devices.check(x.device, x.dtype, "x")
