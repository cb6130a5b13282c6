"""Norms, and scales and shifts per channel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .._C import OpKind
from .behaviour import runs_as
from .layer import LayerTensors
from .raw_op import Details, Weighted
from .reader import Reader
from .shapes import shape_of

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d)


def read_norm(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool:
    """Reads a norm; False if ``node`` is none that native code computes."""
    if module is not None:
        return len(node.all_input_nodes) == 1 and _read_module(reader, node, module)
    if node.target in (functional.batch_norm, torch.batch_norm):
        return _read_batch_norm(reader, node)
    if node.target is functional.group_norm:
        groups = reader.argument(node, 1, "num_groups")
        affine = reader.argument(node, 2, "weight"), reader.argument(node, 3, "bias")
        eps = reader.argument(node, 4, "eps", 1e-5)
        tensors = _affine(reader, *affine)
        return tensors is not None and isinstance(groups, int) and _by_image(reader, node, tensors, groups, eps)
    if node.target is functional.layer_norm:
        shape = reader.argument(node, 1, "normalized_shape")
        affine = reader.argument(node, 2, "weight"), reader.argument(node, 3, "bias")
        eps = reader.argument(node, 4, "eps", 1e-5)
        tensors = _affine(reader, *affine)
        return tensors is not None and _layer_norm(reader, node, tensors, tuple(shape), eps)
    return False


def _read_module(reader: Reader, node: fx.Node, m: nn.Module) -> bool:
    name = str(node.target)
    if any(runs_as(m, kind) for kind in _BATCH_NORMS) and m.running_var is not None:
        gamma, beta = (f"{name}.{key}" if getattr(m, key) is not None else None for key in ("weight", "bias"))
        tensors = LayerTensors(None, None, gamma, beta, f"{name}.running_mean", f"{name}.running_var")
        return _batch_norm(reader, node, name, tensors, float(m.eps), module=name)  # type: ignore[arg-type]
    if isinstance(m, nn.GroupNorm) and runs_as(m, nn.GroupNorm):
        return _by_image(reader, node, _own_affine(m, name), m.num_groups, m.eps, module=name)
    if isinstance(m, nn.LayerNorm) and runs_as(m, nn.LayerNorm):
        return _layer_norm(reader, node, _own_affine(m, name), tuple(m.normalized_shape), m.eps, module=name)
    if any(runs_as(m, kind) for kind in _INSTANCE_NORMS) and m.running_var is None:
        return _by_image(reader, node, _own_affine(m, name), None, m.eps, module=name)
    return False


def _own_affine(m: nn.Module, name: str) -> LayerTensors:
    gamma, bias = (f"{name}.{key}" if getattr(m, key, None) is not None else None for key in ("weight", "bias"))
    return LayerTensors(bias=bias, gamma=gamma)


def _affine(reader: Reader, gamma: Any, bias: Any) -> LayerTensors | None:
    names = reader.parameter(gamma), reader.parameter(bias)
    if any(given is not None and name is None for given, name in zip((gamma, bias), names, strict=True)):
        return None
    return LayerTensors(bias=names[1], gamma=names[0])


def _source(node: fx.Node) -> Any:
    return node.args[0] if node.args else node.kwargs["input"]


def _read_batch_norm(reader: Reader, node: fx.Node) -> bool:
    def tensor(position: int, name: str) -> tuple[Any, str | None]:
        given = reader.argument(node, position, name)
        return given, reader.parameter(given)

    # torch.batch_norm takes the same in another order.
    functions = node.target is functional.batch_norm
    order = ("running_mean", "running_var", "weight", "bias") if functions else ("weight", "bias", "mean", "var")
    found = dict(zip(order, (tensor(i + 1, name) for i, name in enumerate(order)), strict=True))
    mean, var = (found.get(f"running_{key}", found.get(key, (None, None)))[1] for key in ("mean", "var"))
    if mean is None or var is None or reader.argument(node, 5, "training", False):
        return False
    if any(given is not None and name is None for given, name in found.values()):
        return False
    eps = reader.argument(node, 7, "eps", 1e-5)
    tensors = LayerTensors(None, None, found["weight"][1], found["bias"][1], mean, var)
    return _batch_norm(reader, node, mean.rpartition(".")[0] or mean, tensors, eps)


def _batch_norm(reader: Reader, node: fx.Node, name: str, tensors: LayerTensors, eps: float, **more: Any) -> bool:
    x = reader.image(_source(node))
    if x is None:
        return False
    layer = Weighted(name, "norm", tensors, norm=name, eps=float(eps))
    reader.emit(OpKind.norm, (x,), node, reader.values[x], layer=layer, **more)
    return True


def _name(reader: Reader, node: fx.Node, tensors: LayerTensors) -> str:
    """What a norm is called: its module, or what holds its scale."""
    if node.op == "call_module":
        return str(node.target)
    names = [name for name in tensors.names if name is not None]
    taken = {op.layer.name for op in reader.ops if op.layer is not None}
    owner = names[0].rpartition(".")[0] if names else str(node.meta["owner"])
    name = owner if owner and owner not in taken else names[0] if names else ""
    return name if name and name not in taken else node.name


def _by_image(reader: Reader, node: fx.Node, tensors: LayerTensors, groups: int | None, eps: Any, **more: Any) -> bool:
    x = reader.image(_source(node))
    if x is None:
        return False
    details = Details(groups=groups or reader.values[x].channels)
    layer = Weighted(_name(reader, node, tensors), "norm", tensors, eps=float(eps))
    reader.emit(OpKind.group_norm, (x,), node, reader.values[x], layer=layer, details=details, **more)
    return True


def _layer_norm(
    reader: Reader, node: fx.Node, tensors: LayerTensors, shape: tuple[int, ...], eps: Any, **more: Any
) -> bool:
    source = _source(node)
    layer = Weighted(_name(reader, node, tensors), "norm", tensors, eps=float(eps))
    if len(shape) == 1:
        x = reader.pixels(source)
        if x is not None:
            reader.emit_pixels(OpKind.layer_norm, (x,), node, shape[0], layer=layer, **more)
            return True
    # Over a whole image without a scale it is a group norm of one group.
    if shape != tuple(shape_of(source))[1:] or tensors != LayerTensors():
        return False
    return _by_image(reader, node, tensors, 1, eps, **more)


def read_prelu(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool:
    """Reads a PReLU."""
    if module is not None and isinstance(module, nn.PReLU) and runs_as(module, nn.PReLU):
        slopes, count, name = f"{node.target}.weight", module.weight.numel(), str(node.target)
    elif node.target in (functional.prelu, torch.prelu):
        given = reader.argument(node, 1, "weight")
        found = reader.parameter(given)
        if found is None:
            return False
        slopes, count, name = found, math.prod(shape_of(given)), found
    else:
        return False
    x = reader.image(_source(node))
    if x is None or count not in (1, reader.values[x].channels):
        return False
    shared = count == 1 and reader.values[x].channels > 1
    layer = Weighted(name, "norm", LayerTensors(gamma=slopes), shared=shared)
    reader.emit(OpKind.prelu, (x,), node, reader.values[x], layer=layer, module=name if module is not None else "")
    return True


def read_scale(reader: Reader, node: fx.Node, source: fx.Node, parameter: fx.Node, times: bool) -> bool:
    """Reads an activation times a parameter, one number for each channel or one for all; or plus one."""
    name = reader.parameter(parameter)
    if name is None:
        return False
    shape = shape_of(parameter)
    count, last = math.prod(shape), shape[-1] if shape else 1
    tensors = LayerTensors(gamma=name) if times else LayerTensors(bias=name)
    x = reader.pixels(source)
    as_pixels = x is not None and len(shape_of(source)) > 2
    if not as_pixels:
        x = reader.image(source)
    if x is None:
        return False
    value = reader.values[x]
    after_channels = len(shape_of(source)) - 2
    if count != 1:
        wanted = (value.channels,) if as_pixels else (value.channels, *(1,) * after_channels)
        stripped = shape[max(0, len(shape) - len(wanted)) :]
        if count != value.channels or stripped != wanted or (as_pixels and last != value.channels):
            return False
    layer = Weighted(_name(reader, node, tensors), "norm", tensors, shared=count == 1 and value.channels > 1)
    if as_pixels:
        reader.emit_pixels(OpKind.norm, (x,), node, value.channels, layer=layer)
    else:
        reader.emit(OpKind.norm, (x,), node, value, layer=layer)
    return True
