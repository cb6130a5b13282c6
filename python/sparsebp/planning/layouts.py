"""What choices come to: each is laid out by the native core, which says how many bytes it needs."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import nn

from .. import _C
from ..capture.graph import Graph
from ..capture.trainable_layers import trainable_layers
from ..errors import UnsupportedModel
from .choice import Choice
from .fingerprint import Fingerprint, fingerprint
from .layer_bytes import itemise, layer_weights
from .lowering import SpecFactory
from .plan import Plan
from .plan_parts import Buffer
from .request import Request


class Layouts:
    """Lays out any choice for one model at one input size; nothing is searched for.

    Attributes:
        graph: of the model.
        weights: of each layer.
        conv_weights: all convolution weights of the model.
        reach: how many of its layers can train, and what stands behind the others.
        request: what is asked for.
    """

    def __init__(self, graph: Graph, model: nn.Module, request: Request) -> None:
        self.graph = graph
        self.request = request
        convolutions = [m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)]
        weights = [getattr(m, "weight", None) for m in convolutions]  # some compute theirs, some have none
        weights += [model.get_parameter(x.tensors.weight) for x in graph.layers if x.is_convolution]  # type: ignore[arg-type]
        self.conv_weights = sum(w.numel() for w in {id(w): w for w in weights if isinstance(w, torch.Tensor)}.values())
        self.reach = trainable_layers(graph, model)
        self.weights = {i: layer_weights(layer, model) for i, layer in enumerate(graph.layers)}
        self._per_channel = {  # what counts as touched: not a classifier's weights
            i: weights.per_channel if graph.layers[i].is_convolution else 0 for i, weights in self.weights.items()
        }
        self._model = model
        self._peaks: dict[tuple[object, ...], int] = {}

    @cached_property
    def factory(self) -> SpecFactory:
        """Writes choices as native programs; only for networks that have native ops."""
        return SpecFactory(self.graph, self._model)

    @cached_property
    def network(self) -> Fingerprint:
        """What plans know of the network."""
        return fingerprint(self.graph, self._model)

    def touched(self, selected: dict[int, int]) -> int:
        """Convolution weights that one step touches."""
        return sum(k * self._per_channel[i] for i, k in selected.items())

    def program(self, choice: Choice) -> _C.Program:
        """The laid-out, unallocated program of a choice."""
        try:
            return _C.Program(self.factory.make(choice), self.factory.itemsize == 8)
        except ValueError as error:
            raise UnsupportedModel(f"the network does not make a native program: {error}") from error

    def peak(self, choice: Choice) -> int:
        """Bytes that a choice needs; remembered, as a planner asks for hundreds that differ in these five only."""
        parts = tuple(choice.selected.items()), tuple(choice.blocks.items()), choice.pieces.key
        key = (choice.begin, *parts, choice.sums)
        if key not in self._peaks:
            self._peaks[key] = self.program(choice).training_peak
        return self._peaks[key]

    def plan(self, choice: Choice, budget: int) -> Plan:
        """The plan that a choice is."""
        program = self.program(choice)
        buffers = tuple(Buffer(**b) for b in program.training_buffers())
        return Plan(
            itemise(self.graph, self.factory, self.weights, choice, buffers),
            budget,
            program.training_peak,
            program.workspace_peak,
            self.touched(choice.selected),
            self.conv_weights,
            buffers,
            choice,
            self.reach,
            self.network,
            self.request,
        )
