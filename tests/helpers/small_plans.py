"""Plan files of small networks that learn from pictures, with spare classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sparsebp
from networks import randomize_classifier, tiny_mobilenet
from sparsebp.data import Preprocess
from torch import nn
from training import SIZE

KNOWN = ["ant", "bee", "cow"]
SPARE = 2
#: Convolutions in front of all that train.
FROZEN = 4


def small_plan(path: Path, seed: int = 0, known: list[str] | None = None, lr: float = 0.01) -> Path:
    """Writes a plan of a network of 16 x 16 pixels whose first layers are frozen."""
    names = KNOWN if known is None else known
    net = randomize_classifier(tiny_mobilenet(seed, classes=len(names)), seed)
    net = sparsebp.widen(net, len(names) + SPARE)
    frozen = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)][:FROZEN]
    model = sparsebp.convert(net, "1MB", input_size=SIZE, ratios=dict.fromkeys(frozen, 0)).train()
    pictures = Preprocess(SIZE[1:], range=(-1.0, 1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    sparsebp.export(model, path, classes=names, spare_classes=SPARE, preprocess=pictures, lr=lr, batch_size=4)
    return path


def noise(count: int, seed: int) -> np.ndarray:
    """Pictures, uint8 [count, 16, 16, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE[1:], 3), np.uint8)
