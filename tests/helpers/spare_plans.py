"""Plan files of a small network with spare outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import sparsebp
from networks import randomize_classifier, tiny_mobilenet
from sparsebp.runtime import Session
from torch import nn
from training import SIZE

KNOWN = ["ant", "bee", "côte d'azur", "dog", "eel", "fox"]
SPARE = 4


def known_network() -> nn.Module:
    return randomize_classifier(tiny_mobilenet(classes=len(KNOWN)), 1)


def wide_network(outputs: int = len(KNOWN) + SPARE) -> nn.Module:
    return sparsebp.widen(known_network(), outputs)


def export(path: Path, net: nn.Module, names: list[str], convert: dict[str, Any] | None = None, **rules: Any) -> Path:
    model = sparsebp.convert(net, "1MB", input_size=SIZE, ratios={"*": 0.3}, **(convert or {})).train()
    spare = model.output_shape[0] - len(names)
    sparsebp.export(model, path, classes=names, spare_classes=spare, **{"lr": 0.02, "batch_size": 1, **rules})
    return path


def images(count: int, seed: int, classes: int = len(KNOWN)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((count, 16, 16, 3)).astype(np.float32)
    return x, generator.integers(0, classes, count)


def tensors(session: Session, path: Path) -> dict[str, np.ndarray]:
    session.save(path)
    return safetensors.numpy.load_file(path)


@pytest.fixture
def spare(tmp_path: Path) -> Path:
    return export(tmp_path / "spare", wide_network(), KNOWN)
