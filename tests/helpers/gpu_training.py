"""What plans on a GPU may hold, and steps where the model is."""

from __future__ import annotations

from typing import Any

import sparsebp
from networks import batch
from sparsebp import SparseModel
from sparsebp.optim import SGD
from torch.nn.functional import cross_entropy

#: What a plan may hold, each with a budget that has room for it.
SETTINGS: dict[str, tuple[int, dict[str, Any], dict[str, float]]] = {
    "in place": (16 * 1024, {}, {}),
    "weight decay, several images": (48 * 1024, {"batch_size": 3}, {"weight_decay": 0.1}),
    "sums and momentum": (
        1 << 20,
        {"gradients": "sum", "momentum": True, "resample_every": 2},
        {"momentum": 0.9},
    ),
    "normalised": (24 * 1024, {"normalise": True}, {"normalise": True}),
    "normalised sums": (1 << 20, {"gradients": "sum", "normalise": True, "batch_size": 2}, {"normalise": True}),
    "importance": (24 * 1024, {"sampler": "importance"}, {}),
    "top-k": (24 * 1024, {"sampler": "top-k"}, {}),
    "cyclic": (24 * 1024, {"sampler": "cyclic"}, {}),
    "no biases": (24 * 1024, {"train_bias": False}, {}),
}


def trained(
    model: SparseModel, steps: int, rate: float = 0.01, first: int = 0, opt: SGD | None = None, **options: Any
) -> SGD:
    """Takes steps on other pictures each; the optimizer."""
    opt = opt or SGD(model, lr=rate, **options)
    device = model.engine.device
    for i in range(first, first + steps):
        x, y = batch(model.plan.input_size, model.plan.batch_size, seed=i)
        sparsebp.fit_step(model, opt, x.to(device), y.to(device), cross_entropy)
    return opt
