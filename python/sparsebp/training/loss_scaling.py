"""Notices that a GradScaler multiplied the loss, before it multiplies an update.

Mixed precision scales a loss by 65,536 or so and the gradients back before the step. Where updates are part of the
backward pass nothing is scaled back. A Function's backward pass cannot see what the loss was multiplied by, but a
GradScaler that is in use can be found, and what it scaled is large beside its factor: the gradients of a loss such as
cross entropy are at most 1. Both together are taken as proof.
"""

from __future__ import annotations

import gc

import torch

#: A gradient is taken as it is up to this size,
_USUAL = 2.0
#: and up to this share of the factor: with 65,536 up to 64, which was 0.001 before.
_SHARE = 1 / 1024

MESSAGE = (
    "a torch.amp.GradScaler multiplies the loss, and nothing would undo that: the update is part of the backward pass. "
    "Leave the scaler out, loss.backward(); opt.step() - native programs compute in float32 and need none - or make it "
    "with enabled=False"
)


def check_unscaled(dy: torch.Tensor) -> bool:
    """Raises RuntimeError if a GradScaler is in use and the gradient of the output looks scaled.

    Returns:
        Whether it was large and there was no scaler: then no further pass needs to be looked at.
    """
    if dy.numel() == 0 or (dy.is_cuda and torch.cuda.is_current_stream_capturing()):
        return False
    largest = float(dy.abs().max())
    if not largest > _USUAL:
        return False
    scales = _scales_in_use()
    if any(1 < scale <= largest / _SHARE for scale in scales):
        raise RuntimeError(
            f"backward: {MESSAGE}. Nothing was updated. (The gradient of the output is as large as {largest:,.0f}. If "
            "the scaler is another model's and this loss is so steep by itself, delete the scaler first)"
        )
    return not scales


def _scales_in_use() -> list[float]:
    """The factors of the GradScalers that have scaled something."""
    # Nothing keeps a list of them, and asking every object takes 50 ms: gradients are looked at first.
    scalers = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.amp.GradScaler)]
    return [float(s.get_scale()) for s in scalers if s.is_enabled() and getattr(s, "_scale", None) is not None]
