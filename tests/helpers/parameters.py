"""Parameters by name, and which of them have changed."""

from __future__ import annotations

import torch
from sparsebp import SparseModel
from torch import nn


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def names(model: SparseModel) -> list[str]:
    """Of the trained parameters, in network order."""
    trained = {id(p) for p in model.trained_parameters()}
    return [n for n, p in model.named_parameters() if id(p) in trained]
