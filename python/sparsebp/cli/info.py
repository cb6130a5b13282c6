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
from ..devices import usable_gpus
from ..units import format_bytes
from .console import print_json, print_pairs
from .options import Json

#: Optional extras: what they are for, and what they install.
EXTRAS = {
    "plot": ("pictures of plans and runs", "matplotlib"),
    "demo": ("the demo's digits", "scikit-learn"),
    "federated": ("rounds over Flower", "flwr"),
    "prune": ("cutting channels off before training", "torch-pruning"),
}


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
        "cuda": _cuda(),
        "extras": {name: _version(package) for name, (_, package) in EXTRAS.items()},
    }


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    isa = f"{found['isa']}{', forced by SPARSEBP_ISA' if found['isa_forced'] else ''}"
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
        *_cuda_rows(found["cuda"]),
    ]
    for name, (purpose, package) in EXTRAS.items():
        version = found["extras"][name]
        state = f"{package} {version}" if version else f"absent; pip install 'sparsebp[{name}]'"
        rows.append((f"extra {name!r}", f"{state} ({purpose})"))
    return rows


def _cuda() -> dict[str, Any]:
    """Whether models train on GPUs here; ``reason`` says why not."""
    usable, why = usable_gpus()
    return {
        "built": bool(_C.CUDA_BUILD),
        "build": _C.CUDA_BUILD,
        "usable": usable,
        "reason": why,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _cuda_rows(cuda: dict[str, Any]) -> list[tuple[str, str]]:
    built = f"built with {cuda['build']}" if cuda["built"] else "not built"
    if cuda["usable"]:
        return [("CUDA", built), ("", f"usable: {', '.join(cuda['devices'][: cuda['usable']])}")]
    rows = [("CUDA", f"off, {built}"), ("", cuda["reason"])] if cuda["built"] else [("CUDA", f"off: {cuda['reason']}")]
    if not cuda["built"]:
        rows.append(("", "build it where nvcc is found, with pip install ., or -C cmake.define.SPARSEBP_CUDA=ON"))
        if cuda["devices"]:
            rows.append(("", f"torch sees {', '.join(cuda['devices'])}"))
    return rows


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
