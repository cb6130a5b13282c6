"""What runs in torch after the native program, under autograd."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import fx, nn

from .graph import Graph
from .in_place import is_in_place
from .shapes import is_value, shape_of
from .tail import Tail
from .torch_part import TorchPart, chosen


class TorchTail:
    """The native program's output in, what the network returns out.

    Args:
        graph: of the network.
        tail: what it ends with.
        model: the network.

    Attributes:
        nodes: names of the traced nodes that it runs.
        output_shape: of what is returned for one image; None if that is not one tensor.
        random: whether it does something else in training mode, such as to drop values.
    """

    def __init__(self, graph: Graph, tail: Tail, model: nn.Module) -> None:
        self._shapes = tail.shapes
        begins = _Begin(graph, tail)
        self._sized = [shape_of(node)[1:] for node in begins.measured]
        modules = dict(graph.traces.evaluation.named_modules())
        # What is written into one of several views of a tensor counts for autograd as written into all.
        self._apart = len(tail.handed) > 1 and any(is_in_place(n, modules.get(str(n.target))) for n in begins.inside)
        parts = {training: _cut(graph, tail, begins, training) for training in (False, True)}
        self._part = TorchPart(graph.traces, model, parts)
        self.nodes = self._part.nodes - set(tail.handed)
        self.random = self._part.differs
        result = shape_of(graph.traces.evaluation.graph.output_node().args[0])
        self.output_shape = result[1:] if result[:1] == (graph.traces.images,) else None

    def __call__(self, packed: torch.Tensor, training: bool) -> Any:
        """[N, ...] -> what the network returns for N images."""
        handed = _unpacked(packed, self._shapes)
        handed = [part.clone() for part in handed] if self._apart else handed
        sized = [packed.new_zeros(()).expand(len(packed), *shape) for shape in self._sized]
        return self._part.run(training, *handed, *sized)


class _Begin:
    """Where a tail begins.

    Attributes:
        inside: the nodes that it runs.
        measured: nodes in front of it of which it reads nothing but the shape.
    """

    def __init__(self, graph: Graph, tail: Tail) -> None:
        nodes = list(graph.traces.evaluation.graph.nodes)
        waiting = list(graph.traces.evaluation.graph.output_node().all_input_nodes)
        sizes: list[fx.Node] = []
        self.inside: set[fx.Node] = set()
        while waiting:
            node = waiting.pop()
            if node.name not in tail.handed and node not in self.inside:
                self.inside.add(node)
                (sizes if is_value(node) else waiting).extend(node.all_input_nodes)
        measured: set[fx.Node] = set()
        while sizes:
            node = sizes.pop()
            if is_value(node):
                self.inside.add(node)
                sizes.extend(node.all_input_nodes)
            elif node.name not in tail.handed and node not in self.inside:
                measured.add(node)
        self.measured = [node for node in nodes if node in measured]


def torch_tail(graph: Graph, model: nn.Module) -> TorchTail | None:
    """The tail of a network that has one."""
    return TorchTail(graph, graph.tail, model) if graph.tail is not None else None


def _unpacked(packed: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Views of a program's output, so that autograd adds up what their gradients are."""
    if len(shapes) == 1:
        return [packed if packed.shape[1:] == shapes[0] else packed.reshape(len(packed), *shapes[0])]
    ends = list(accumulate(prod(shape) for shape in shapes))
    return [packed[:, end - prod(shape) : end].unflatten(1, shape) for end, shape in zip(ends, shapes, strict=True)]


def _cut(graph: Graph, tail: Tail, begins: _Begin, training: bool) -> fx.Graph:
    """What the tail runs, on what is handed over and on what stands for the nodes that are measured."""
    part = fx.Graph()
    copied = {name: part.placeholder(name) for name in (*tail.handed, *(node.name for node in begins.measured))}
    for node, source in chosen(graph.traces, training):
        if node in begins.inside:
            copied[node.name] = part.node_copy(source, lambda n: copied[n.name])
    result = graph.traces.evaluation.graph.output_node().args[0]
    part.output(fx.node.map_arg(result, lambda n: copied[n.name]))
    return part
