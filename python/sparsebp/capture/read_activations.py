"""Activations, as modules, functions and methods."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .._C import Activation, OpKind
from .behaviour import runs_as
from .raw_op import Details
from .reader import Reader
from .shapes import shape_of

#: Those without numbers of their own, by the names of torch's functions and methods.
_NAMES = {
    "relu": Activation.relu,
    "relu6": Activation.relu6,
    "hardsigmoid": Activation.hardsigmoid,
    "hardswish": Activation.hardswish,
    "sigmoid": Activation.sigmoid,
    "silu": Activation.silu,
    "tanh": Activation.tanh,
    "mish": Activation.mish,
}
_MODULES: tuple[tuple[type[nn.Module], Activation], ...] = (
    (nn.ReLU, Activation.relu),
    (nn.Hardsigmoid, Activation.hardsigmoid),
    (nn.Hardswish, Activation.hardswish),
    (nn.Sigmoid, Activation.sigmoid),
    (nn.SiLU, Activation.silu),
    (nn.Tanh, Activation.tanh),
    (nn.Mish, Activation.mish),
)

Found = tuple[Activation, float, float]  # with alpha and beta


def read_activation(reader: Reader, node: fx.Node, module: nn.Module | None) -> bool:
    """Reads an activation; False if ``node`` is none that native code computes."""
    if len(reader.tensors(node)) != 1:
        return False
    source = reader.tensors(node)[0]
    if not reader.is_native(source) or not reader.is_tensor(node):
        return False
    found = _of_module(module) if module is not None else _of_call(reader, node)
    if found is None:
        return _read_softmax(reader, node, module, source)
    activation, alpha, beta = found
    x = reader.numbers(source)
    if x is None:
        return False
    details = Details(alpha=alpha, beta=beta)
    reader.emit_alike(OpKind.activation, (x,), node, source, activation=activation, details=details)
    return True


def _of_module(m: nn.Module) -> Found | None:
    for kind, activation in _MODULES:
        if runs_as(m, kind):
            return activation, 1.0, 0.0
    if isinstance(m, nn.Hardtanh) and runs_as(m, nn.Hardtanh):  # a ReLU6 is one
        return _clip(m.min_val, m.max_val)
    if isinstance(m, nn.LeakyReLU) and runs_as(m, nn.LeakyReLU):
        return Activation.leaky_relu, float(m.negative_slope), 0.0
    if isinstance(m, nn.ELU) and runs_as(m, nn.ELU):
        return Activation.elu, float(m.alpha), 0.0
    if isinstance(m, nn.Softplus) and runs_as(m, nn.Softplus) and (m.beta, m.threshold) == (1, 20):
        return Activation.softplus, 1.0, 0.0
    if isinstance(m, nn.GELU) and runs_as(m, nn.GELU):
        return (Activation.gelu if m.approximate == "none" else Activation.gelu_tanh), 1.0, 0.0
    return None


def _of_call(reader: Reader, node: fx.Node) -> Found | None:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    own = isinstance(node.target, str) or str(getattr(node.target, "__module__", "")).startswith("torch")
    own = own or getattr(torch, name.strip("_"), None) is node.target
    name = name.rstrip("_")
    if not own:
        return None
    if name in _NAMES:
        return _NAMES[name], 1.0, 0.0
    if name == "hardtanh":
        return _clip(reader.argument(node, 1, "min_val", -1.0), reader.argument(node, 2, "max_val", 1.0))
    if name in ("clamp", "clip", "clamp_min", "clamp_max"):
        low = reader.argument(node, 1, "min") if name != "clamp_max" else None
        high = reader.argument(node, 2 if name != "clamp_max" else 1, "max")
        return _clip(low, high)
    if name == "leaky_relu":
        return Activation.leaky_relu, float(reader.argument(node, 1, "negative_slope", 0.01)), 0.0
    if name == "elu":
        return Activation.elu, float(reader.argument(node, 1, "alpha", 1.0)), 0.0
    if name == "softplus":
        usual = (reader.argument(node, 1, "beta", 1), reader.argument(node, 2, "threshold", 20)) == (1, 20)
        return (Activation.softplus, 1.0, 0.0) if usual else None
    if name == "gelu":
        exact = reader.argument(node, 1, "approximate", "none") == "none"
        return (Activation.gelu if exact else Activation.gelu_tanh), 1.0, 0.0
    return None


def _clip(low: Any, high: Any) -> Found | None:
    if not all(v is None or isinstance(v, (int, float)) for v in (low, high)):
        return None
    if (low, high) in ((0, None), (0, math.inf)):
        return Activation.relu, 1.0, 0.0
    if (low, high) == (0, 6):
        return Activation.relu6, 1.0, 0.0
    most = torch.finfo(torch.float32).max
    return Activation.clip, float(most if high is None else high), float(-most if low is None else low)


def _read_softmax(reader: Reader, node: fx.Node, module: nn.Module | None, source: fx.Node) -> bool:
    """Over the channels: the second dimension, or the last one of pixels."""
    if isinstance(module, (nn.Softmax, nn.Softmax2d)) and any(runs_as(module, k) for k in (nn.Softmax, nn.Softmax2d)):
        dim = -3 if isinstance(module, nn.Softmax2d) else module.dim
    elif module is None and node.target in (functional.softmax, torch.softmax, "softmax"):
        dim = reader.argument(node, 1, "dim")
    else:
        return False
    dims = len(shape_of(source))
    if not isinstance(dim, int) or reader.argument(node, 3, "dtype") is not None:
        return False
    if dim % dims == 1:
        x = reader.image(source)
        if x is not None:
            reader.emit(OpKind.softmax, (x,), node, reader.values[x])
            return True
    x = reader.pixels(source) if dim % dims == dims - 1 else None
    if x is None:
        return False
    reader.emit_pixels(OpKind.softmax, (x,), node, reader.values[x].channels)
    return True
