"""``sparsebp info``: what this installation is and what it finds on this machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .. import _C, __version__
from ..benchmark.environment import cpu_name, memory_bytes, usable_cores
from ..units import format_bytes
from .console import print_json, print_pairs
from .options import Json

#: Optional extras: what they are for, and what they install.
EXTRAS = {"plot": ("pictures of plans and runs", "matplotlib"), "demo": ("the demo's digits", "scikit-learn")}

NO_CUDA = "this build has no CUDA kernels; training runs on the CPU"


def info(as_json: Json = False) -> None:
    """Versions, instruction sets, threads, memory and optional parts of this installation."""
    found = collect()
    if as_json:
        print_json(found)
        return
    print_pairs(_rows(found))


def collect() -> dict[str, Any]:
    """All of it as plain data."""
    memory = memory_bytes()
    return {
        "sparsebp": __version__,
        "location": str(Path(__file__).parent.parent),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "isa": _C.chosen_isa(),
        "isa_forced": bool(os.environ.get("SPARSEBP_ISA")),
        "isas": _C.usable_isas(),
        "threads": torch.get_num_threads(),
        "native_threads": _C.thread_count(),
        "thread_pool": _C.thread_pool_name(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "machine": platform.machine(),
        "system": platform.system(),
        "memory_bytes": memory[0] if memory else None,
        "memory_available_bytes": memory[1] if memory else None,
        "cuda": {"built": False, "reason": NO_CUDA, "torch_devices": _cuda_devices()},
        "extras": {name: _version(package) for name, (_, package) in EXTRAS.items()},
    }


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    isa = f"{found['isa']}{', forced by SPARSEBP_ISA' if found['isa_forced'] else ''}"
    cuda = found["cuda"]
    devices = ", ".join(cuda["torch_devices"])
    memory = "unknown"
    if found["memory_bytes"] is not None:
        memory = f"{format_bytes(found['memory_bytes'])}, {format_bytes(found['memory_available_bytes'])} available"
    rows = [
        ("sparsebp", f"{found['sparsebp']} in {found['location']}"),
        ("Python", found["python"]),
        ("torch", found["torch"]),
        ("instruction set", f"{isa} (this build and processor have {', '.join(found['isas'])})"),
        ("threads", f"{found['native_threads']} of {found['thread_pool']}"),
        ("processor", f"{found['cpu']}, {found['cores']} usable cores, {found['system']} {found['machine']}"),
        ("memory", memory),
        ("CUDA", f"not built: {cuda['reason']}"),
        ("", f"torch sees {devices}, which sparsebp does not use" if devices else "torch sees no CUDA device either"),
    ]
    for name, (purpose, package) in EXTRAS.items():
        version = found["extras"][name]
        state = f"{package} {version}" if version else f"absent; pip install 'sparsebp[{name}]'"
        rows.append((f"extra {name!r}", f"{state} ({purpose})"))
    return rows


def _cuda_devices() -> list[str]:
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
