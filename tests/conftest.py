"""Fixtures that the tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Two threads on two busy cores wait for each other longer than they compute; a test that wants more asks.
torch.set_num_threads(1)


@pytest.fixture
def data_root() -> Path:
    """The folder of real weights and data sets that ``SPARSEBP_DATA`` names; skips without one."""
    root = os.environ.get("SPARSEBP_DATA")
    if not root:
        pytest.skip("SPARSEBP_DATA does not name a folder with real weights and data")
    if not Path(root).is_dir():
        pytest.skip(f"SPARSEBP_DATA names {root}, which is no folder")
    return Path(root)


@pytest.fixture
def threads() -> Iterator[object]:
    """``threads(n)`` makes torch (and so the native kernels) use n threads until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
