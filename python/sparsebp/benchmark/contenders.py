"""What sparsebp is timed against: the same network, trained by plain torch."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from ..capture.graph import Graph


class TorchModel(nn.Module):
    """A copy of a network that plain torch trains, in channels_last, with frozen batch-norm statistics.

    Args:
        model: unchanged.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> [N, classes]."""
        y: torch.Tensor = self.model(x)
        return y

    def train(self, mode: bool = True) -> TorchModel:
        """As in torch, but batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def partial(model: nn.Module, graph: Graph, begin: int) -> TorchModel:
    """A copy that trains every layer from op ``begin`` of its graph on, densely.

    Nothing before has a parameter that wants a gradient, so autograd keeps nothing there, as under
    ``no_grad``. Batch norms are folded into the convolutions before them.
    """
    made = TorchModel(model)
    fold_batch_norms(made.model, graph)
    made.requires_grad_(False)
    for op in graph.ops[begin:]:
        for layer in op.layers:
            for name in graph.layers[layer].tensors.names[:2]:
                if name is not None:
                    made.model.get_parameter(name).requires_grad_(True)
    return made


def fused(model: nn.Module, graph: Graph) -> TorchModel:
    """A copy for inference: batch norms folded into the convolutions before them, evaluation mode."""
    made = TorchModel(model)
    fold_batch_norms(made.model, graph)
    return made.requires_grad_(False).eval()


def fold_batch_norms(model: nn.Module, graph: Graph) -> None:
    """Folds every batch norm that the graph found behind a convolution into it, in place.

    Only of torch's own classes: what a subclass does besides would be lost with it.
    """
    training = model.training
    model.eval()
    for layer in graph.layers:
        if layer.norm is None or not layer.has_weight:
            continue
        convolution, norm = model.get_submodule(layer.name), model.get_submodule(layer.norm)
        if type(convolution) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d:
            continue
        _replace(model, layer.name, fuse_conv_bn_eval(convolution, norm))
        _replace(model, layer.norm, nn.Identity())
    model.train(training)


def first_op(graph: Graph, name: str) -> int:
    """The first op that runs the module ``name`` or something inside it.

    Raises:
        ValueError: there is none.
    """
    for i, op in enumerate(graph.ops):
        if any(f"{graph.layers[layer].name}.".startswith(f"{name}.") for layer in op.layers):
            return i
    raise ValueError(f"the model runs no convolution or linear layer in a module named {name!r}")


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
