"""Kernels for a GPU are started while the one before them still runs, so each waits first of all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CUDA = Path(__file__).parents[2] / "csrc" / "cuda"
KERNEL = re.compile(r"__global__ void[^{;]*?(\w+)\(\w+(?:<[^()]*>)? \w+\) \{\s*([^\n]*)")


def kernels() -> list[tuple[str, str]]:
    """Name and first statement of each."""
    files = sorted(CUDA.glob("*.cu")) + sorted(CUDA.glob("*.cuh"))
    return [found for file in files for found in KERNEL.findall(file.read_text())]


def test_all_kernels_are_found() -> None:
    words = sum(file.read_text().count("__global__") for file in CUDA.iterdir())
    assert len(kernels()) == words > 50


@pytest.mark.parametrize(("name", "first"), kernels())
def test_a_kernel_begins_with_waiting(name: str, first: str) -> None:
    assert first == "await_inputs();", f"{name} would read what the kernel before it has not written yet"
