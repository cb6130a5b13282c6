"""Weights that a network uses in more than one place, which native programs cannot train."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from torch import nn

from ..errors import TiedWeights
from .graph import Graph, first_native
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


def leave_to_torch(graph: Graph, model: nn.Module) -> None:
    """Leaves layers to torch that are used more than once, or by torch too; the native part begins behind them.

    Raises:
        TiedWeights: no convolution is left behind them.
    """
    uses: Counter[str] = Counter()
    for node in graph.traces.evaluation.graph.nodes:
        if node.op == "call_module":
            called = model.get_submodule(str(node.target))
            own = (*called.named_parameters(), *called.named_buffers())
            uses.update(f"{node.target}.{name}" for name, _ in own)
        elif node.op == "get_attr":
            uses[str(node.target)] += sum(not is_value(user) for user in node.users)
    shared = [[name for name in layer.tensors.names if name is not None and uses[name] > 1] for layer in graph.layers]
    native = range(graph.native_begin, len(graph.ops))
    found = {i: shared[layer][0] for i in native for layer in graph.ops[i].layers if shared[layer]}
    if not found:
        return
    for i, name in found.items():
        owner = name.rpartition(".")[0] or name
        graph.ops[i] = replace(graph.ops[i], kind=None, what="a layer that is used more than once", where=owner)
    graph.native_begin = first_native(graph)
    if not any(graph.layers[i].is_convolution for i in graph.layers_from(graph.native_begin)):
        _refuse(f"{graph.ops[min(found)].where} is used more than once")


def _refuse(what: str) -> None:
    raise TiedWeights(
        f"model: {what}; tied weights cannot be trained natively. Give each place its own: copy.deepcopy(module)"
    )
