"""Features of a picture in fewer bytes: uint8 with the picture's own scale and offset, or float16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]

KINDS: dict[str, type[np.generic]] = {"uint8": np.uint8, "float16": np.float16}
_LARGEST = float(np.finfo(np.float16).max)


def encode(features: Features, kind: str) -> tuple[bytes, float, float]:
    """The bytes, and the offset and scale with which they are decoded.

    Raises:
        ValueError: a feature is not finite.
    """
    low, high = float(features.min()), float(features.max())
    if not np.isfinite(high - low):
        raise ValueError("features: expected finite numbers")
    if kind == "float16":
        return features.clip(-_LARGEST, _LARGEST).astype(np.float16).tobytes(), 0.0, 1.0
    scale = float(np.float32((high - low) / 255)) or 1.0  # as it is stored; features that are all the same need none
    offset = float(np.float32(low))
    return np.rint((features - offset) / scale).clip(0, 255).astype(np.uint8).tobytes(), offset, scale


def decode(data: bytes, kind: str, offset: float, scale: float) -> Features:
    """What :func:`encode` made bytes of, but for rounding."""
    numbers = np.frombuffer(data, KINDS[kind]).astype(np.float32)
    return numbers if kind == "float16" else numbers * np.float32(scale) + np.float32(offset)


def largest_error(features: Features, kind: str, scale: float) -> float:
    """The most by which decoded features may be off, twice over: what is further away is another number."""
    return scale if kind == "uint8" else float(np.abs(features).max()) / 1024
