"""What calling a module does: whether it is what its class says, or something that was hung onto it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

#: torch's own tables of the hooks that it calls for every module.
_GLOBAL_HOOKS = (
    nn.modules.module._global_forward_pre_hooks,
    nn.modules.module._global_forward_hooks,
    nn.modules.module._global_backward_pre_hooks,
    nn.modules.module._global_backward_hooks,
)
#: What a call of a module runs.
_CALLS = ("__call__", "_call_impl", "forward", "_conv_forward", "_check_input_dim")


_WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def has_hooks(m: nn.Module) -> bool:
    """Whether torch would call more than ``forward``; native code would not."""
    return bool(m._forward_pre_hooks or m._forward_hooks or m._backward_pre_hooks or m._backward_hooks)


def has_global_hooks() -> bool:
    """Whether torch would call something at every module's forward or backward pass."""
    return any(_GLOBAL_HOOKS)


def patched(m: nn.Module) -> str:
    """The method of this one module that somebody has replaced, such as ``"forward"``; otherwise an empty string."""
    return next(iter(patches(m)), "")


def patches(m: nn.Module) -> dict[str, Any]:
    """All of these methods of a module, with what stands in their place."""
    return {name: vars(m)[name] for name in _CALLS if name in vars(m)}


def runs_as(m: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling ``m`` computes what a ``kind`` of torch computes with the same attributes, and nothing else."""
    if not isinstance(m, kind) or has_hooks(m) or patched(m) or hasattr(m, "parametrizations"):
        return False
    if any(name not in m._parameters or hasattr(type(m), name) for name in _parameters(kind)):
        return False  # computed from something else when it is asked for
    if issubclass(kind, _WEIGHTED) and m._parameters["weight"] is None:
        return False
    methods = [name for name in _CALLS if hasattr(kind, name)]
    return all(getattr(type(m), name) is getattr(kind, name) for name in methods) and _is_torch(kind.forward)


def _parameters(kind: type[nn.Module]) -> tuple[str, ...]:
    if issubclass(kind, nn.PReLU):
        return ("weight",)
    return ("weight", "bias") if issubclass(kind, (*_WEIGHTED, *_NORMS)) else ()


def _is_torch(method: object) -> bool:
    """Whether a method of a class of torch is torch's own; some libraries replace them."""
    return str(getattr(method, "__module__", "")).startswith("torch.nn.")


def is_stateless(m: nn.Module) -> bool:
    """Whether neither a module nor any inside it has a tensor, as a parameter, a buffer or a mere attribute."""
    tables = [table for inner in m.modules() for table in (inner._parameters, inner._buffers, vars(inner))]
    return not any(isinstance(value, (torch.Tensor, np.ndarray)) for table in tables for value in table.values())


def is_leaf(m: nn.Module) -> bool:
    """Whether a module is one op, whatever its class: one with hooks, or a plain convolution, linear layer or norm."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
    return has_hooks(m) or any(runs_as(m, kind) for kind in kinds)


def keeps_statistics(m: nn.Module) -> bool:
    """Whether a module is a norm with statistics of its own, which those of a converted network never change."""
    return isinstance(m, nn.modules.batchnorm._NormBase) and m.running_var is not None
