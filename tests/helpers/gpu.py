"""Where the tests of GPUs run, which ``SPARSEBP_TEST_DEVICE`` says.

``cuda``: on a GPU. ``emulated``: on this processor, with a module whose CUDA kernels take this processor's memory
(tests/native/emulated; ``make test-emulated``). Otherwise they are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
import torch
from sparsebp import devices
from torch import nn

NAME = os.environ.get("SPARSEBP_TEST_DEVICE", "")
if NAME not in ("", "cuda", "emulated"):
    raise ValueError(f"SPARSEBP_TEST_DEVICE: expected cuda or emulated, got {NAME!r}")

DEVICE = torch.device("cuda:0" if NAME == "cuda" else "cpu")

required = pytest.mark.skipif(not NAME, reason="SPARSEBP_TEST_DEVICE is neither cuda nor emulated")
real = pytest.mark.skipif(NAME != "cuda", reason="SPARSEBP_TEST_DEVICE is not cuda")

Placed = TypeVar("Placed", torch.Tensor, nn.Module)


def place(thing: Placed) -> Placed:
    """A tensor or module where programs of the GPU find it."""
    return thing.to(DEVICE)


@contextmanager
def active() -> Iterator[None]:
    """Programs that are made inside, of what was placed, run on the GPU."""
    if NAME != "emulated":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "gpu_of", lambda device: 0)
        yield
