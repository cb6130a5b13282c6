"""Comparing what torch computes on a GPU with float32 kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Inside, torch multiplies float32 on a GPU as float32, not as TF32, which has ten bits of a number.

    TF32 is torch's default for convolutions. Fifty layers of it differ from float32 by more than rounding does.
    """
    settings = _settings()
    before = [getattr(backend, name) for backend, name, _ in settings]
    try:
        for backend, name, exact in settings:
            setattr(backend, name, exact)
        yield
    finally:
        for (backend, name, _), value in zip(settings, before, strict=True):
            setattr(backend, name, value)


def _settings() -> list[tuple[Any, str, object]]:
    """What decides, by attribute, and its value for float32. Since torch 2.9 the older switch may refuse to be read."""
    backends: Any = torch.backends
    convolutions, products = getattr(backends.cudnn, "conv", None), backends.cuda.matmul
    if hasattr(convolutions, "fp32_precision"):
        return [(convolutions, "fp32_precision", "ieee"), (products, "fp32_precision", "ieee")]
    return [(backends.cudnn, "allow_tf32", False), (products, "allow_tf32", False)]
