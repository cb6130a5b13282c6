"""Twelve small pictures of noise."""

from __future__ import annotations

import numpy as np
from sparsebp.data import Arrays, Preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 11, 3), np.uint8)
SIZE = Preprocess((8, 8))


def pictures() -> Arrays:
    return Arrays(PIXELS, np.arange(12) % 5)
