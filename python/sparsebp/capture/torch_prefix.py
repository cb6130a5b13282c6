"""What runs in torch before the native ops: as in evaluation, but for what drops values at random."""

from __future__ import annotations

import random
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from .fx_ops import differs
from .graph import Graph
from .in_place import is_dead
from .preserve import random_state, unchanged
from .probe import probe
from .shapes import is_value


class TorchPrefix:
    """Image batch in, the activation that the first native op reads out.

    Norms never use the statistics of a batch: only modules without weights and statistics, and functions that have none
    as arguments, are in training mode while the model trains.

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
        self._runs = {training: _cut(graph, graph.fx_names[boundary], training) for training in (False, True)}
        nodes = list(self._runs[False].graph.nodes)
        self.nodes = frozenset(node.name for node in nodes)
        leaves = [model.get_submodule(node.target) for node in nodes if node.op == "call_module"]
        modules = {m for leaf in leaves for m in leaf.modules()}
        self._with_state = [m for m in modules if not _is_stateless(m)]
        self._stateless = [m for m in modules if _is_stateless(m)]
        self._borrowed = sorted({str(node.target) for node in nodes if node.op == "get_attr"} & _state_names(model))
        self.random = self._differs(graph) or self._draws(graph)

    def __call__(self, x: torch.Tensor, training: bool) -> torch.Tensor:
        """[N, C, H, W] -> [N, C', H', W'], with autograd off.

        Raises:
            RuntimeError: the result has another shape or type than the plan was made for.
        """
        for module in self._with_state:
            module.training = False
        for module in self._stateless:
            module.training = training
        run = self._runs[training]
        for name in self._borrowed:
            _lend(self._model, run, name)
        # Under autocast torch would hand over another type than the program reads.
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            out: torch.Tensor = run(x)
        shape = (self._value.channels, self._value.height, self._value.width)
        expected = (len(x), *(shape if out.dim() == 4 else shape[:1]))
        if tuple(out.shape) != expected or out.dtype != x.dtype:
            raise RuntimeError(
                f"what runs in torch before the native ops returned {list(out.shape)} of {out.dtype}; the plan was "
                f"made for {list(expected)} of {x.dtype}"
            )
        return out

    def _differs(self, graph: Graph) -> bool:
        training = {node.name: node for node in graph.traces.training.graph.nodes}
        constants = _constants(graph.traces.evaluation)
        apart = any(
            differs(node, training[node.name])
            for node in graph.traces.evaluation.graph.nodes
            if node.name in self.nodes and _may_train(node, self._model, constants)
        )
        return apart or any(m in graph.traces.differing for m in self._stateless)

    def _draws(self, graph: Graph) -> bool:
        """Whether two training passes differ, or take random numbers."""
        source = graph.values[graph.input]
        x = probe(1, (source.channels, source.height, source.width), next(self._model.parameters()))
        with unchanged(self._model):
            before = _random_states(self._model, x.device)
            first, second = self(x, True), self(x, True)
            return _random_states(self._model, x.device) != before or not torch.equal(first, second)


def torch_prefix(graph: Graph, model: nn.Module) -> TorchPrefix | None:
    """The prefix of a network whose first ops are not native."""
    return TorchPrefix(graph, model) if graph.native_begin else None


def _cut(graph: Graph, boundary: str, training: bool) -> fx.GraphModule:
    """The evaluation trace up to the last torch op, returning ``boundary``, with the arguments of training mode where
    they may be."""
    traces = graph.traces
    other = {node.name: node for node in traces.training.graph.nodes}
    wanted = {graph.fx_names[op.output] for op in graph.ops[: graph.native_begin] if op.kind is None} | {boundary}
    constants = _constants(traces.evaluation)
    part = fx.Graph()
    copied: dict[str, fx.Node] = {}
    for node in traces.evaluation.graph.nodes:
        source = other[node.name] if training and _may_train(node, traces.evaluation, constants) else node
        copied[node.name] = part.node_copy(source, lambda n: copied[n.name])
        wanted.discard(node.name)
        if not wanted:
            break
    part.output(copied[boundary])
    module = fx.GraphModule(traces.evaluation, part)
    for node in reversed(module.graph.nodes):
        if is_dead(node):
            module.graph.erase_node(node)
    module.recompile()
    return module


def _may_train(node: fx.Node, model: nn.Module, constants: set[fx.Node]) -> bool:
    """Whether an op has neither weights nor statistics, so that what differs in training mode is mere noise."""
    if any(n in constants for n in node.all_input_nodes):
        return False
    return node.op != "call_module" or _is_stateless(model.get_submodule(str(node.target)))


def _constants(traced: fx.GraphModule) -> set[fx.Node]:
    """Parameters and buffers, and what is computed from them alone."""
    found: set[fx.Node] = set()
    for node in traced.graph.nodes:
        inputs = node.all_input_nodes
        if node.op == "get_attr" or (inputs and all(n in found or is_value(n) for n in inputs) and found & set(inputs)):
            found.add(node)
    return found


def _is_stateless(m: nn.Module) -> bool:
    """Whether neither a module nor any inside it has a tensor, as a parameter, a buffer or a mere attribute."""
    tables = [table for inner in m.modules() for table in (inner._parameters, inner._buffers, vars(inner))]
    return not any(isinstance(value, (torch.Tensor, np.ndarray)) for table in tables for value in table.values())


def _random_states(model: nn.Module, device: torch.device) -> list[bytes | object]:
    """Of every generator of random numbers that code usually draws from, those that modules own among them."""
    own = [v for m in model.modules() for v in vars(m).values() if isinstance(v, torch.Generator)]
    states = [random_state(device), *(generator.get_state() for generator in own)]
    return [*(state.numpy().tobytes() for state in states), random.getstate(), str(np.random.get_state())]


def _state_names(model: nn.Module) -> set[str]:
    return {n for n, _ in model.named_parameters(remove_duplicate=False)} | {
        n for n, _ in model.named_buffers(remove_duplicate=False)
    }


def _lend(model: nn.Module, run: fx.GraphModule, name: str) -> None:
    """A parameter or buffer that was assigned or moved since is the one that runs."""
    tensor: Any = attrgetter(name)(model)
    if attrgetter(name)(run) is not tensor:
        owner, _, key = name.rpartition(".")
        setattr(run.get_submodule(owner), key, tensor)
