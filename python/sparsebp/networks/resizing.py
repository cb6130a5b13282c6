"""The usual class of a network, at the widths of one that was pruned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Size, Tensor, nn, zeros
from torch.nn.modules.batchnorm import _NormBase

from ..training.sparse_model import SparseModel


def resize_like(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Gives a model's layers the shapes of a pruned network's ``state_dict``, so that it can be loaded.

    The usual class rebuilds a pruned network so: ``resize_like(mobilenet_v2(10), state).load_state_dict(state)``.

    Args:
        model: of the class that was pruned; its layers are resized in place, their values are undefined until loaded.
        tensors: the pruned network's ``state_dict()``.

    Returns:
        ``model``.

    Raises:
        TypeError: an argument is something else.
        ValueError: names differ, a layer would have to grow, or a kernel to shrink; the model is unchanged.
    """
    if not isinstance(model, nn.Module) or isinstance(model, SparseModel):
        raise TypeError(
            f"model: expected a torch.nn.Module that is not converted, got {type(model).__name__}; resize first, then "
            "convert"
        )
    if not isinstance(tensors, Mapping):
        raise TypeError(f"tensors: expected a state_dict, got {type(tensors).__name__}")
    own = model.state_dict()
    missing = sorted(own.keys() ^ tensors.keys())
    if missing:
        raise ValueError(f"tensors: expected the names of the model's own state_dict, {missing[0]} is in one of them")
    for name, tensor in tensors.items():
        shape, mine = tuple(tensor.shape), tuple(own[name].shape)
        narrower = len(shape) == len(mine) and all(a <= b for a, b in zip(shape, mine, strict=True))
        if not narrower or shape[2:] != mine[2:]:
            raise ValueError(
                f"tensors: {name} has shape {list(shape)}; expected at most the model's {list(mine)}, and "
                "a kernel of the same size"
            )
    for prefix, module in model.named_modules():
        for table in (module._parameters, module._buffers):
            for key, value in table.items():
                name = f"{prefix}.{key}" if prefix else key
                if value is not None and name in tensors and value.shape != tensors[name].shape:
                    table[key] = _empty(value, tensors[name].shape)
        _declare(module)
    return model


def _empty(value: Tensor, shape: Size) -> Any:
    made = zeros(shape, dtype=value.dtype, device=value.device)
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
    elif isinstance(module, nn.GroupNorm) and module.affine:
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, _NormBase):
        for values in (module.weight, module.running_mean):
            if values is not None:
                module.num_features = len(values)
