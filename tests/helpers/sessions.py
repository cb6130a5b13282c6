"""What a session trains on, and the model that it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sparsebp
import torch
from networks import tiny_mobilenet
from sparsebp.data import Preprocess
from training import SIZE

PICTURES = Preprocess((16, 16), range=(-1.0, 1.0), mean=(0.1, 0.0, -0.1), std=(0.9, 1.0, 1.1))


def trained(convert: dict[str, Any], rules: dict[str, Any]) -> tuple[sparsebp.SparseModel, sparsebp.optim.SGD]:
    model = sparsebp.convert(tiny_mobilenet(dropout=0.3), "1MB", input_size=SIZE, **convert).train()
    return model, sparsebp.optim.SGD(model, lr=0.02, **rules)


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 16, 16, 3), np.uint8), generator.integers(0, 10, count)


def assert_same_weights(file: Path, model: sparsebp.SparseModel) -> None:
    loaded, own = sparsebp.load_file(file), model.state_dict()
    assert loaded.keys() == own.keys()
    assert [n for n in own if not torch.equal(loaded[n], own[n])] == []
