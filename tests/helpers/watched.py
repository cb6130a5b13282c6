"""Sessions that watch a folder in a test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_plans import noise, small_plan
from sparsebp.runtime import Session, watch
from sparsebp.runtime.stop import StopRequest
from training import one_thread  # noqa: F401


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_plan(tmp_path_factory.mktemp("plan") / "plan")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def put(folder: Path, name: str, count: int, begin: int = 0) -> None:
    """Pictures of a class; 0.png and so on."""
    (folder / name).mkdir(exist_ok=True)
    for number, pixels in enumerate(noise(count, int.from_bytes(name.encode()[:3], "big") + begin), begin):
        Image.fromarray(pixels).save(folder / name / f"{number}.png")


class Steps(Session):
    """Notes what it learns from, and may do something after a step."""

    def __init__(self, file: Path, after: Callable[[int], object] = lambda step: None) -> None:
        super().__init__(file)
        self.labels: list[list[int]] = []
        self.features_of_steps: list[np.ndarray] = []
        self.known = 0
        self._after = after

    def train_features(self, features: Any, labels: Any) -> Any:
        self.known += int(self.predict_features(features)[0].argmax() == labels[0])
        step = super().train_features(features, labels)
        self.labels.append(list(labels))
        self.features_of_steps.append(features)
        self._after(len(self.labels))
        return step

    @property
    def new(self) -> list[int]:
        """The label of each step's new picture."""
        return [labels[0] for labels in self.labels]


def watched(session: Session, folder: Path, **options: Any) -> list[str]:
    """Until ``stop_after`` or a signal; what was said."""
    said: list[str] = []
    with StopRequest() as stop:
        watch(session, folder, folder.parent / "out", **{"stop": stop, "say": said.append, "patience": 0.3, **options})
    return said


def interrupt(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)
