"""A small plan, a session of it, and features that tell which picture they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_plans import small_plan
from sparsebp.runtime import Reservoir, Session
from training import one_thread  # noqa: F401

LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_plan(tmp_path_factory.mktemp("plan") / "plan")


@pytest.fixture
def session(plan: Path) -> Session:
    return Session(plan)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def numbered(session: Session, count: int, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Features that tell which picture of which class they are: the first is its number, the second its class.

    Between 0 and 255, uint8 keeps them as they are.
    """
    features = np.zeros((count, session.sizes.features), np.float32)
    features[:, 0], features[:, 1], features[:, 2] = np.arange(count), label, 255
    return features, np.full(count, label)


def everything(reservoir: Reservoir) -> tuple[np.ndarray, np.ndarray]:
    return reservoir.draw(reservoir.capacity)
