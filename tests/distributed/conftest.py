"""Processes that the tests of this folder share: each takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from worlds import World, world


@pytest.fixture(scope="session")
def two() -> Iterator[World]:
    """Two ranks, which stay together whatever a test has them do, as long as both do it."""
    with world(2) as made:
        yield made
