"""Dropout that a forward calls itself, where the rest of that forward is followed as in evaluation."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

from torch import fx


def drop_as_trained(traced: fx.GraphModule, trained: fx.GraphModule, owner: str) -> None:
    """Switches on what training mode switches on: functions that get another bool there, and nothing else.

    Args:
        traced: in evaluation mode as far as the forward of ``owner`` goes; its calls are changed.
        trained: in training mode, with further calls in between.
        owner: name of a module.
    """
    own, others = _calls(traced, owner), _calls(trained, owner)
    alike = SequenceMatcher(None, [n.target for n in own], [n.target for n in others], autojunk=False)
    for first, second, length in alike.get_matching_blocks():
        for node, other in zip(own[first : first + length], others[second : second + length], strict=True):
            if len(node.args) == len(other.args) and node.kwargs.keys() == other.kwargs.keys():
                node.args = tuple(_switched(*pair) for pair in zip(node.args, other.args, strict=True))
                node.kwargs = {key: _switched(value, other.kwargs[key]) for key, value in node.kwargs.items()}


def _calls(traced: fx.GraphModule, owner: str) -> list[fx.Node]:
    return [node for node in traced.graph.nodes if node.meta.get("owner") == owner and node.op == "call_function"]


def _switched(argument: Any, other: Any) -> Any:
    return other if isinstance(argument, bool) and isinstance(other, bool) else argument
