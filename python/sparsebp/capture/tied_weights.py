"""Weights that a network uses in more than one place, which native programs cannot train."""

from __future__ import annotations

from collections import Counter

from torch import nn

from ..errors import TiedWeights
from .graph import Graph
from .shapes import is_value


def check_parameters(model: nn.Module) -> None:
    """Raises TiedWeights if two modules share a parameter, or its memory. One module may have several names."""
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is None:
                continue
            full = f"{name}.{key}" if name else key
            # Two parameters may be views of one memory, which the kernels' layout would untie.
            keys = {id(parameter), parameter.data_ptr() or id(parameter)}
            other = next((owners[k] for k in keys if k in owners), None)
            if other is not None:
                _refuse(f"{other} and {full} are one parameter")
            owners |= dict.fromkeys(keys, full)
    for name, buffer in model.named_buffers():
        if buffer.data_ptr() in owners and buffer.data_ptr():
            _refuse(f"{owners[buffer.data_ptr()]} and the buffer {name} are one memory")


def check_uses(graph: Graph, model: nn.Module) -> None:
    """Raises TiedWeights if a layer that runs natively is used more than once, or by torch too."""
    uses: Counter[str] = Counter()
    for node in graph.traces.evaluation.graph.nodes:
        if node.op == "call_module":
            called = model.get_submodule(str(node.target))
            own = (*called.named_parameters(), *called.named_buffers())
            uses.update(f"{node.target}.{name}" for name, _ in own)
        elif node.op == "get_attr":
            uses[str(node.target)] += sum(not is_value(user) for user in node.users)
    for layer in (graph.layers[i] for i in graph.layers_from(graph.native_begin)):
        for name in filter(None, layer.tensors.names):
            if uses[name] > 1:
                _refuse(f"{name.rpartition('.')[0] or name} is used more than once")


def _refuse(what: str) -> None:
    raise TiedWeights(
        f"model: {what}; tied weights cannot be trained natively. Give each place its own: copy.deepcopy(module)"
    )
