"""Where native programs run: on this processor, or on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from . import _C
from .errors import BudgetExceeded, DeviceMemoryError


def check(device: torch.device, dtype: torch.dtype, what: str) -> None:
    """Raises ValueError or TypeError unless programs of ``dtype`` run on ``device``; ``what`` lies there."""
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise ValueError(f"{what} is on {device}; expected the CPU or a CUDA device")
    count, why = usable_gpus()
    if (device.index or 0) >= count:
        raise ValueError(
            f"{what} is on {device}, which sparsebp cannot use: "
            f"{why or f'there are {count} CUDA devices'}; `sparsebp info` tells more. Use the CPU"
        )
    if dtype != torch.float32:
        raise TypeError(f"{what} is {dtype} on {device}; GPUs train float32 networks only")


def usable_gpus() -> tuple[int, str]:
    """How many GPUs native code and torch both see and, with none, why."""
    count, why = _C.cuda_devices()
    seen = torch.cuda.device_count() if count > 0 else 0
    if count > 0 and seen == 0:
        build = "" if torch.version.cuda is not None else "; it is a build without CUDA"
        return 0, f"torch {torch.__version__} sees no CUDA device{build}"
    return min(count, seen), why


def gpu_of(device: torch.device) -> int | None:
    """The number of a GPU, as native code wants it; None for this processor."""
    return None if device.type == "cpu" else device.index or 0


def stream_of(device: torch.device) -> int:
    """The stream on which torch starts its work now; 0 on this processor, which has none."""
    return 0 if device.type == "cpu" else torch.cuda.current_stream(device).cuda_stream


def chosen(device: torch.device) -> AbstractContextManager[object]:
    """Inside, ``device`` is the current one; unlike CUDA's own calls, leaving wakes no other GPU."""
    return nullcontext() if device.type == "cpu" else torch.cuda.device(device)


def empty_cache(device: torch.device) -> None:
    """Makes torch give back the memory that it keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def make_program(spec: _C.ProgramSpec, budget: int, dtype: torch.dtype, isa: str, device: torch.device) -> _C.Program:
    """A program on ``device`` with its arena of ``budget`` bytes.

    Raises:
        TypeError, ValueError: programs of ``dtype`` do not run there.
        BudgetExceeded: the program needs more bytes.
        MemoryError, DeviceMemoryError: the system or the GPU cannot give as many.
    """
    check(device, dtype, "the model")
    if device.type == "cuda" and spec.scope == _C.Scope.step:
        raise ValueError("scope: the whole step runs inside a budget on processors only; on a GPU expected 'training'")
    if device.type == "cuda" and any(op.keep != _C.Keep.masks for op in spec.ops):
        raise ValueError("saved_bits: blocks keep their inputs on processors only; on a GPU expected 32")
    try:
        return _allocated(spec, budget, dtype, isa, device)
    except DeviceMemoryError:
        empty_cache(device)
        return _allocated(spec, budget, dtype, isa, device)


def _allocated(spec: _C.ProgramSpec, budget: int, dtype: torch.dtype, isa: str, device: torch.device) -> _C.Program:
    program = _C.Program(spec, dtype == torch.float64, isa, gpu_of(device))
    program.set_stream(stream_of(device))
    try:
        with chosen(device):
            program.allocate(budget)
    except (BudgetExceeded, DeviceMemoryError):
        raise
    except MemoryError as error:
        raise MemoryError(
            f"budget: the system cannot give {budget:,} bytes for training and {program.workspace_peak:,} for "
            "activations"
        ) from error
    return program


def own_randomness(model: nn.Module) -> AbstractContextManager[None]:
    """Leaving it puts torch's generators back, that of the processor and those of the model's GPUs."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    return torch.random.fork_rng(devices=sorted(devices, key=str))


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
