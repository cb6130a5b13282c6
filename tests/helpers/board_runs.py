"""Small runs of ``sparsebp-runtime``: a plan file, pictures that can be learnt, and the command in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
from runs import CLASSES, SIDE, network, write_pictures
from sparsebp.data import Preprocess

PICTURES = Preprocess((SIDE, SIDE), range=(-1.0, 1.0), mean=(0.0,) * 3, std=(1.0,) * 3)


def write_plan(path: Path, classes: tuple[str, ...] = CLASSES, spare: int = 0, **rules: Any) -> Path:
    """A plan file of a tiny network, four pictures a step."""
    model = sparsebp.convert(
        network(classes=len(classes) + spare), "64KB", input_size=(3, SIDE, SIDE), ratios={"*": 0.3}, sampler="cyclic"
    )
    settings: dict[str, Any] = {"lr": 0.01, "batch_size": 4, "normalise": False, **rules}
    sparsebp.export(model, path, classes=classes, preprocess=PICTURES, spare_classes=spare, **settings)
    return path


def write_both(folder: Path, train: int = 6, test: int = 4) -> Path:
    """``train/`` and ``test/`` with so many pictures of each class."""
    write_pictures(folder / "train", train)
    write_pictures(folder / "test", test, seed=1)
    return folder


def words(*given: object) -> list[str]:
    return [sys.executable, "-m", "sparsebp.runtime", *map(str, given)]


def environment() -> dict[str, str]:
    source = str(Path(sparsebp.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))}


def command(*given: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """``sparsebp-runtime`` in a process of its own."""
    return subprocess.run(words(*given), capture_output=True, text=True, env=environment(), timeout=300, **options)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a plan file."""
    from safetensors.numpy import load_file

    return load_file(path)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan(tmp_path_factory.mktemp("plan") / "plan.safetensors")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_both(tmp_path_factory.mktemp("pictures") / "set")
