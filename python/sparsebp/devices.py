"""Where native programs run: on this processor, or on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn

from . import _C


def check(device: torch.device, dtype: torch.dtype, what: str) -> None:
    """Raises ValueError or TypeError unless programs of ``dtype`` run on ``device``; ``what`` lies there."""
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise ValueError(f"{what} is on {device}; expected the CPU or a CUDA device")
    count, why = _C.cuda_devices()
    if (device.index or 0) >= count:
        raise ValueError(
            f"{what} is on {device}, where sparsebp cannot train: "
            f"{why or f'it finds {count} CUDA devices'}; `sparsebp info` tells more. Move the model to the CPU"
        )
    if dtype != torch.float32:
        raise TypeError(f"{what} is {dtype} on {device}; GPUs train float32 networks only")


def gpu_of(device: torch.device) -> int | None:
    """The number of a GPU, as native code wants it; None for this processor."""
    return None if device.type == "cpu" else device.index or 0


def stream_of(device: torch.device) -> int:
    """The stream on which torch starts its work now; 0 on this processor, which has none."""
    return 0 if device.type == "cpu" else torch.cuda.current_stream(device).cuda_stream


def own_randomness(model: nn.Module) -> AbstractContextManager[None]:
    """Leaving it puts torch's generators back, that of the processor and that of the model's device."""
    device = next(model.parameters()).device
    return torch.random.fork_rng(devices=[] if device.type == "cpu" else [device])


def memory_view(owner: Any, address: int, count: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A flat tensor over native memory, which ``owner`` keeps alive."""
    region = _Region(owner, address, count, dtype)
    if device.type == "cpu":
        return torch.from_numpy(np.asarray(region))
    return torch.as_tensor(region, device=device)


class _Region:
    """Memory as numpy's and CUDA's array interfaces describe it."""

    def __init__(self, owner: Any, address: int, count: int, dtype: torch.dtype) -> None:
        self.owner = owner
        self.__array_interface__ = self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": (count,),
            "strides": None,
            "typestr": {torch.uint8: "|u1", torch.float32: "<f4", torch.float64: "<f8"}[dtype],
            "version": 3,
        }
