"""More outputs for a network, which keeps what it knows."""

from __future__ import annotations

import torch
from torch import nn

from ..training.learning_rules import check_count
from ..training.sparse_model import SparseModel
from .pretrained import fresh_layer, last_layer


def widen(model: nn.Module, classes: int) -> nn.Module:
    """Gives a network's last layer so many outputs; those that it had keep their weights, new ones begin at zero.

    With outputs to spare a plan file can learn classes that nobody knew of: see ``spare_classes`` of
    :func:`sparsebp.export`.

    Args:
        model: not converted; its last linear layer or, without any, its last convolution is replaced.
        classes: outputs, as many as it has or more.

    Returns:
        ``model``.

    Raises:
        TypeError, ValueError: an argument is something else, or there is no such layer; the model is unchanged.
    """
    if isinstance(model, SparseModel):
        raise TypeError(
            "model: expected one that is not converted; take what sparsebp.restore(model) returns, widen that, and "
            "convert it again"
        )
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    check_count("classes", classes)
    name = last_layer(model)
    if name is None:
        raise ValueError("model: it has no linear layer or convolution whose outputs could be more")
    old = model.get_submodule(name)
    assert isinstance(old, (nn.Linear, nn.Conv2d))
    outputs = len(old.weight)
    if classes < outputs:
        raise ValueError(f"classes: {name} has {outputs} outputs already, got {classes}; expected no fewer")
    if getattr(old, "groups", 1) != 1:
        raise ValueError(f"model: {name} is a convolution with groups; expected one without")
    if classes == outputs:
        return model
    with torch.random.fork_rng(devices=[]):
        new = fresh_layer(old, classes)
    with torch.no_grad():
        for key, parameter in old.named_parameters():
            wider = new.get_parameter(key).requires_grad_(parameter.requires_grad)
            wider[:outputs] = parameter
            wider[outputs:] = 0
    model.set_submodule(name, new)
    return model
