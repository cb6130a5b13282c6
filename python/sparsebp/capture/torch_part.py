"""Parts of a network that torch runs: as in evaluation, but for what drops values at random."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import torch
from torch import fx, nn

from .behaviour import is_stateless
from .fx_ops import differs
from .shapes import is_value
from .tracing import Traces


class TorchPart:
    """Some nodes of a trace, as they run in either mode.

    Norms never use the statistics of a batch: only modules without weights and statistics, and functions that have none
    as arguments, are in training mode while the model trains.

    Args:
        traces: of the network.
        model: the network.
        parts: graphs of the nodes, with arguments as in evaluation and as in training (:func:`chosen`).

    Attributes:
        nodes: names of the traced nodes that it runs.
        differs: whether they do something else in training mode.
    """

    def __init__(self, traces: Traces, model: nn.Module, parts: dict[bool, fx.Graph]) -> None:
        self._model = model
        self._runs = {training: fx.GraphModule(traces.evaluation, part) for training, part in parts.items()}
        nodes = list(parts[False].nodes)
        self.nodes = frozenset(node.name for node in nodes)
        leaves = [model.get_submodule(str(node.target)) for node in nodes if node.op == "call_module"]
        modules = {m for leaf in leaves for m in leaf.modules()}
        self._with_state = [m for m in modules if not is_stateless(m)]
        self._stateless = [m for m in modules if is_stateless(m)]
        self._borrowed = sorted({str(node.target) for node in nodes if node.op == "get_attr"} & _state_names(model))
        self.differs = self._differs(traces)

    def run(self, training: bool, *inputs: torch.Tensor) -> Any:
        """What the graph of this mode returns."""
        for module in self._with_state:
            module.training = False
        for module in self._stateless:
            module.training = training
        run = self._runs[training]
        for name in self._borrowed:
            _lend(self._model, run, name)
        # Under autocast torch would hand over another type than the program reads.
        with torch.autocast(inputs[0].device.type, enabled=False):
            return run(*inputs)

    def _differs(self, traces: Traces) -> bool:
        training = {node.name: node for node in traces.training.graph.nodes}
        constants = _constants(traces.evaluation)
        apart = any(
            differs(node, training[node.name])
            for node in traces.evaluation.graph.nodes
            if node.name in self.nodes and _may_train(node, self._model, constants)
        )
        return apart or any(m in traces.differing for m in self._stateless)


def chosen(traces: Traces, training: bool) -> Iterable[tuple[fx.Node, fx.Node]]:
    """Nodes of the evaluation trace in their order; beside each the one with the arguments of training mode, where it
    may be."""
    other = {node.name: node for node in traces.training.graph.nodes}
    constants = _constants(traces.evaluation)
    for node in traces.evaluation.graph.nodes:
        yield node, other[node.name] if training and _may_train(node, traces.evaluation, constants) else node


def _may_train(node: fx.Node, model: nn.Module, constants: set[fx.Node]) -> bool:
    """Whether an op has neither weights nor statistics, so that what differs in training mode is mere noise."""
    if any(n in constants for n in node.all_input_nodes):
        return False
    return node.op != "call_module" or is_stateless(model.get_submodule(str(node.target)))


def _constants(traced: fx.GraphModule) -> set[fx.Node]:
    """Parameters and buffers, and what is computed from them alone."""
    found: set[fx.Node] = set()
    for node in traced.graph.nodes:
        inputs = node.all_input_nodes
        if node.op == "get_attr" or (inputs and all(n in found or is_value(n) for n in inputs) and found & set(inputs)):
            found.add(node)
    return found


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
