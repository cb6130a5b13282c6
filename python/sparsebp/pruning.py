"""Cutting channels away before training: the offline stage of the method (Li & Chang, ISCAS 2024).

Which channels hang together is worked out by the library torch-pruning (an extra: ``pip install 'sparsebp[prune]'``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .converted import SparseModel
from .model_weights import last_layer

ROUND_TO = 8
"""Numbers of channels that are left are multiples of it, one vector of float32 in most instruction sets."""


def prune(
    model: nn.Module,
    example: Tensor,
    ratio: float,
    data: Iterable[tuple[Tensor, Tensor]] | None = None,
) -> nn.Module:
    """A smaller copy of a pretrained network, without the least important channels of every layer.

    Importance is a channel's first-order effect on the loss over ``data`` (Molchanov et al., CVPR 2019), or without
    data the norm of its weights. Outputs of the last layer stay. What was cut is missed until the network is trained
    on; pictures of its pretraining, or the fine-tuning itself, make up for part of it.

    Args:
        model: float32 CPU module, [N, C, H, W] to [N, classes]; it stays as it is.
        example: an input, [N, C, H, W], to trace the network with.
        ratio: share of the channels to cut, at least 0 and below 1. What is left is rounded to a multiple of 8.
        data: batches (images [N, C, H, W], labels [N] of the classes that ``model`` knows); a few are enough.

    Raises:
        ImportError: torch-pruning is not installed; the message says how to install it.
        TypeError, ValueError: an argument cannot be used, or ``data`` holds no batch.
    """
    if not isinstance(model, nn.Module) or isinstance(model, SparseModel):
        raise TypeError(
            f"model: expected a torch.nn.Module that is not converted yet, got {type(model).__name__}; prune first, "
            "then convert"
        )
    if not isinstance(example, Tensor) or example.dim() != 4 or example.shape[0] == 0:
        got = list(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise TypeError(f"example: expected a tensor [N, C, H, W], got {got}")
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio < 1:
        raise ValueError(f"ratio: expected a share of the channels, at least 0 and below 1, got {ratio!r}")
    library = _library()
    pruned = copy.deepcopy(model)
    training = pruned.training
    wanted = [p.requires_grad for p in pruned.parameters()]
    pruned.eval().requires_grad_(True)  # dependencies are read off a backward graph
    if data is not None:
        _accumulate(pruned, data)
    importance = library.importance
    last = last_layer(pruned)
    pruner = library.pruner.MetaPruner(
        pruned,
        example,
        importance=importance.GroupTaylorImportance() if data is not None else importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=float(ratio),
        ignored_layers=[pruned.get_submodule(last)] if last is not None else [],
        round_to=ROUND_TO,
    )
    pruner.step()
    pruned.zero_grad(set_to_none=True)
    for parameter, on in zip(pruned.parameters(), wanted, strict=True):
        parameter.requires_grad_(on)
    return pruned.train(training)


def resize_like(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Gives a model's layers the shapes of a pruned network's ``state_dict``, so that it can be loaded.

    The usual class rebuilds a pruned network so: ``resize_like(mobilenet_v2(10), state).load_state_dict(state)``.

    Args:
        model: of the class that was pruned; its layers are resized in place, their values are undefined until loaded.
        tensors: the pruned network's ``state_dict()``.

    Returns:
        ``model``.

    Raises:
        ValueError: names differ, or a layer would have to grow; the model is unchanged.
    """
    own = model.state_dict()
    missing = sorted(own.keys() ^ tensors.keys())
    if missing:
        raise ValueError(f"tensors: expected the names of the model's own state_dict, {missing[0]} is in one of them")
    for name, tensor in tensors.items():
        small = tensor.dim() == own[name].dim() and all(
            a <= b for a, b in zip(tensor.shape, own[name].shape, strict=True)
        )
        if not small:
            raise ValueError(
                f"tensors: {name} has shape {list(tensor.shape)}; expected at most the model's {list(own[name].shape)}"
            )
    for prefix, module in model.named_modules():
        for table in (module._parameters, module._buffers):
            for key, value in table.items():
                name = f"{prefix}.{key}" if prefix else key
                if value is not None and name in tensors and value.shape != tensors[name].shape:
                    table[key] = _empty(value, tensors[name].shape)
        _declare(module)
    return model


def _empty(value: Tensor, shape: torch.Size) -> Any:
    made = torch.zeros(shape, dtype=value.dtype, device=value.device)
    return nn.Parameter(made, value.requires_grad) if isinstance(value, nn.Parameter) else made


def _declare(module: nn.Module) -> None:
    """Writes the numbers of channels that a layer's weight has into the layer's attributes."""
    if isinstance(module, nn.Conv2d):
        filters = module.out_channels // module.in_channels if module.groups == module.in_channels > 1 else 0
        module.out_channels = module.weight.shape[0]
        if filters:  # so many for each channel: a depthwise layer
            module.groups = module.out_channels // filters
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
        module.num_features = module.running_mean.shape[0]


def _accumulate(model: nn.Module, data: Iterable[tuple[Tensor, Tensor]]) -> None:
    batches = 0
    for images, labels in data:
        cross_entropy(model(images), labels).backward()
        batches += 1
    if batches == 0:
        raise ValueError("data: expected at least one batch of (images, labels)")


def _library() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise ImportError("prune needs torch-pruning: pip install 'sparsebp[prune]'") from error
    return torch_pruning
