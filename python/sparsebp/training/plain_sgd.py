"""One step of SGD on a parameter that no native program owns: torch's rule, and its normalised kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from .rules import SQUARE_DECAY

#: A gradient that vanishes must not become a step.
_LEAST = 1e-8


def update(parameter: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    """Moves ``parameter`` by its ``.grad``, as its group says; ``state`` keeps momentum and mean square."""
    grad, rate = parameter.grad, group["lr"]
    assert grad is not None
    decay = group["weight_decay"]
    if group["normalise"]:
        root = _learned_root(state, grad)
        if root == 0:
            return
        scale = root + _LEAST
        rate, decay = rate / scale, decay * scale
    if decay:
        grad = grad.add(parameter, alpha=decay)
    if group["momentum"]:
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = state["momentum_buffer"] = torch.zeros_like(parameter)
        grad = buffer.mul_(group["momentum"]).add_(grad)
    parameter.add_(grad, alpha=-rate)


def _learned_root(state: dict[str, Any], grad: torch.Tensor) -> float:
    """The root of the running mean square, which has heard of ``grad``."""
    square, weight = state.get("square", (0.0, 0.0))
    now = float(grad.square().mean())
    if math.isfinite(now):
        square = SQUARE_DECAY * square + (1 - SQUARE_DECAY) * now
        weight = SQUARE_DECAY * weight + (1 - SQUARE_DECAY)
        state["square"] = (square, weight)
    return math.sqrt(square / weight) if weight else 0.0
