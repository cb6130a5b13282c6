"""What runs in torch before the native ops."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import fx, nn

from .graph import Graph
from .in_place import is_dead
from .preserve import random_state, unchanged
from .probe import probe
from .shapes import shape_of
from .torch_part import TorchPart, chosen


class TorchPrefix:
    """Image batch in, the activation that the first native op reads out.

    Args:
        graph: of the network.
        model: the network.

    Attributes:
        nodes: names of the traced nodes that it runs.
        random: whether two training passes over one image may differ.
    """

    def __init__(self, graph: Graph, model: nn.Module) -> None:
        (boundary,) = graph.crossing(graph.native_begin)
        self._model = model
        self._value = graph.values[boundary]
        cuts = {training: _cut(graph, graph.fx_names[boundary], training) for training in (False, True)}
        self._part = TorchPart(graph.traces, model, cuts)
        self.nodes = self._part.nodes
        self.random = self._part.differs or self._draws(graph)

    def __call__(self, x: torch.Tensor, training: bool) -> torch.Tensor:
        """[N, C, H, W] -> [N, C', H', W'], with autograd off.

        Raises:
            RuntimeError: the result has another shape or type than the plan was made for.
        """
        with torch.no_grad():
            out: torch.Tensor = self._part.run(training, x)
        shape = (self._value.channels, self._value.height, self._value.width)
        expected = (len(x), *{4: shape, 3: (shape[0], shape[2])}.get(out.dim(), shape[:1]))
        if tuple(out.shape) != expected or out.dtype != x.dtype:
            raise RuntimeError(
                f"what runs in torch before the native ops returned {list(out.shape)} of {out.dtype}; the plan was "
                f"made for {list(expected)} of {x.dtype}"
            )
        return out

    def _draws(self, graph: Graph) -> bool:
        """Whether two training passes differ, or take random numbers."""
        (source,) = (node for node in graph.traces.evaluation.graph.nodes if node.name == graph.fx_names[graph.input])
        x = probe(1, shape_of(source)[1:], next(self._model.parameters()))
        with unchanged(self._model):
            before = _random_states(self._model, x.device)
            first, second = self(x, True), self(x, True)
            return _random_states(self._model, x.device) != before or not torch.equal(first, second)


def torch_prefix(graph: Graph, model: nn.Module) -> TorchPrefix | None:
    """The prefix of a network whose first ops are not native."""
    return TorchPrefix(graph, model) if graph.native_begin else None


def _cut(graph: Graph, boundary: str, training: bool) -> fx.Graph:
    """The trace up to the last torch op of the prefix, returning ``boundary``."""
    wanted = {graph.fx_names[op.output] for op in graph.ops[: graph.native_begin] if op.kind is None} | {boundary}
    part = fx.Graph()
    copied: dict[str, fx.Node] = {}
    for node, source in chosen(graph.traces, training):
        copied[node.name] = part.node_copy(source, lambda n: copied[n.name])
        wanted.discard(node.name)
        if not wanted:
            break
    part.output(copied[boundary])
    for node in reversed(part.nodes):
        if is_dead(node):
            part.erase_node(node)
    return part


def _random_states(model: nn.Module, device: torch.device) -> list[bytes | object]:
    """Of every generator of random numbers that code usually draws from, those that modules own among them."""
    own = [v for m in model.modules() for v in vars(m).values() if isinstance(v, torch.Generator)]
    states = [random_state(device), *(generator.get_state() for generator in own)]
    return [*(state.numpy().tobytes() for state in states), random.getstate(), str(np.random.get_state())]
