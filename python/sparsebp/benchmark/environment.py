"""What a timing depends on besides the code: versions, instruction set, threads, machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .. import _C, __version__


def environment(device: str = "cpu") -> dict[str, Any]:
    """Plain data to print above a table and to store beside its numbers."""
    gpu = {} if torch.device(device).type == "cpu" else {"gpu": torch.cuda.get_device_name(device)}
    return {
        "sparsebp": __version__,
        "isa": _C.chosen_isa(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        **gpu,
    }


def check_isa(name: str) -> None:
    """Raises ValueError unless ``name`` is an instruction set that this build has and this processor supports."""
    usable = _C.usable_isas()
    if name not in usable:
        raise ValueError(f"expected one that this build on this processor has, {', '.join(usable)}, got {name!r}")


def force_isa(name: str) -> None:
    """Makes every native program from now on run with the instruction set ``name``.

    Raises:
        ValueError: it is not available.
    """
    check_isa(name)
    os.environ["SPARSEBP_ISA"] = name  # what the native code asks when it makes a program


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Inside, torch and the native kernels compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def waiting(run: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """``run``, back only when a GPU has done what it was told."""
    if device.type == "cpu":
        return run

    def finished(*arguments: Any) -> None:
        run(*arguments)
        torch.cuda.synchronize(device)

    return finished


def cpu_name() -> str:
    """The processor as Linux calls it; its architecture where that has no name."""
    for line in _lines("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> tuple[int, int] | None:
    """Bytes of the machine's memory, and how many of them are available; None where Linux does not say."""
    sizes = {}
    for line in _lines("/proc/meminfo"):
        key, _, value = line.partition(":")
        if key in ("MemTotal", "MemAvailable"):
            sizes[key] = 1024 * int(value.split()[0])
    return (sizes["MemTotal"], sizes["MemAvailable"]) if len(sizes) == 2 else None


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()
    except OSError:
        return []
