"""Reading a model as a graph, and what it must be for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .. import devices
from ..capture import graph as graphs
from ..capture import tied_weights as tied
from ..capture.behaviour import has_global_hooks
from ..errors import UnsupportedModel
from .sparse_model import SparseModel


def check_model(model: nn.Module) -> None:
    """Raises TypeError, ValueError or UnsupportedModel where something is wrong before the model is followed."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, SparseModel):
        raise TypeError("model: it is converted already; sparsebp.restore(model) gives the original back")
    if has_global_hooks():
        raise UnsupportedModel(
            "hooks for all modules are registered, which native layers would never call; remove them"
        )
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks:
            raise UnsupportedModel(
                f"model: {name} has a hook on its gradient, which does not exist natively; remove it"
            )
        if nn.parameter.is_lazy(parameter):
            raise UnsupportedModel(f"model: {name} has no shape yet; run the model once before")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"model: {name} is {parameter.dtype}; expected float32 (or float64)")
        devices.check(parameter.device, parameter.dtype, f"model: {name}")
    tied.check_parameters(model)
    places = {p.device for p in model.parameters()}
    if len(places) > 1:
        raise ValueError(f"model: it is spread over {' and '.join(map(str, places))}; expected one device")
    dtypes = {p.dtype for p in model.parameters()}
    if len(dtypes) > 1:
        raise TypeError(f"model: its parameters mix {' and '.join(map(str, dtypes))}; expected one dtype")
    if not dtypes:
        raise UnsupportedModel("model: it has no parameters")


@contextmanager
def readable(model: nn.Module) -> Iterator[None]:
    """Errors of the model's own code, and what nobody has thought of, become UnsupportedModel."""
    try:
        yield
    except (UnsupportedModel, ValueError, MemoryError):
        raise
    except Exception as error:
        raise UnsupportedModel(f"{type(model).__name__} cannot be read: {type(error).__name__}: {error}") from error


def read(model: nn.Module, input_size: tuple[int, ...], aux: bool = True) -> graphs.Graph:
    """The model's graph; both are checked. ``aux`` is as in :func:`sparsebp.convert`."""
    check_model(model)
    with readable(model):
        graph = graphs.build(model, input_size, aux)
        tied.leave_to_torch(graph, model)
    return graph
