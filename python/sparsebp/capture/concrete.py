"""Answers for code that asks while it is traced: how many, how large, whether, as far as shapes alone tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import TraceError
from torch.utils._pytree import tree_leaves, tree_map

#: What turns a tensor into plain values without a look at its numbers, by the names of attributes and methods.
_OF_THE_SHAPE = {
    *("shape", "ndim", "dtype", "device", "is_cuda", "size", "dim", "ndimension", "numel", "nelement", "element_size"),
    *("is_floating_point", "is_complex", "get_device", "len"),
}


class Concrete:
    """Runs what has been traced so far, node by node when somebody asks; nothing is run twice.

    It runs twice over, with two images whose activations are all ones and with one whose activations are all zeros:
    what differs between the two depends on the batch or on numbers, and is no answer.

    Args:
        model: that is being traced.
        graph: which grows.
        images: two of them.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, images: torch.Tensor) -> None:
        self._model = model
        self._runs = [_Run(model, graph, images, 1), _Run(model, graph, images[:1], 0)]
        self.running = False

    def truth(self, node: fx.Node) -> bool:
        """``bool(node)``; raises TraceError unless shapes tell."""
        return bool(self._answer(node, bool, "whether something is true"))

    def number(self, node: fx.Node, kind: Callable[[Any], Any]) -> Any:
        """``kind(node)``, a number; raises TraceError unless shapes tell."""
        return self._answer(node, kind, "a number")

    def count(self, node: fx.Node) -> int:
        """``len(node)``, of a tensor too; raises TraceError unless shapes tell."""
        return int(self._answer(node, len, "how many", tensors=True))

    def keys(self, node: fx.Node) -> list[Any] | None:
        """The keys of a dictionary; None if it is something else."""
        keys: list[Any] | None = self._answer(node, _keys, "what the keys are", tensors=True)
        return keys

    def _answer(self, node: fx.Node, ask: Callable[[Any], Any], what: str, tensors: bool = False) -> Any:
        with self._quietly():
            answers = []
            for run in self._runs:
                value = run.value(node)
                if isinstance(value, torch.Tensor) and not tensors:
                    raise TraceError(f"it asks {what}, which depends on the numbers in a tensor ({node.name})")
                answers.append(ask(value))
        if answers[0] != answers[1]:
            raise TraceError(f"it asks {what}, which depends on the images of the batch ({node.name})")
        return answers[0]

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """As in evaluation; TraceError whatever happens."""
        modes = [(m, m.training) for m in self._model.modules()]
        self.running = True
        try:
            for module, _ in modes:
                module.training = False
            with torch.no_grad():
                yield
        except TraceError:
            raise
        except Exception as error:
            raise TraceError(f"what it asks for cannot be computed: {error}") from error
        finally:
            self.running = False
            for module, mode in modes:
                module.training = mode


@dataclass(frozen=True)
class _Outline:
    """All that is kept of an activation."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class _Run(fx.Interpreter):
    """Runs nodes on activations of which only the shapes are right: every number is ``fill``."""

    def __init__(self, model: nn.Module, graph: fx.Graph, images: torch.Tensor, fill: int) -> None:
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self._fill = fill
        self._source = next(node for node in graph.nodes if node.op == "placeholder")
        self.env[self._source] = _outline(images)

    def value(self, node: fx.Node) -> Any:
        """What a node computes; raises TraceError if it is a plain value made of the numbers in a tensor."""
        waiting = [node]
        while waiting:
            missing = [n for n in waiting[-1].all_input_nodes if n not in self.env]
            if missing:
                waiting.extend(missing)
                continue
            last = waiting.pop()
            if last not in self.env:
                self.env[last] = (
                    tree_map(_outline, self.run_node(last)) if last.op != "get_attr" else self.run_node(last)
                )
        return tree_map(self._filled, self.env[node])

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "placeholder":
            raise TraceError(f"it asks for {n.target}, and a network has one input")
        result = super().run_node(n)
        read = [leaf for node in n.all_input_nodes for leaf in tree_leaves(self.env[node])]
        if any(map(_is_tensor, read)) and not any(map(_is_tensor, tree_leaves(result))) and not _asks_for_shape(n):
            raise TraceError(f"it asks for the numbers in a tensor ({n.name})")
        return result

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        return tree_map(self._filled, super().fetch_args_kwargs_from_env(n))

    def _filled(self, value: Any) -> Any:
        if not isinstance(value, _Outline):
            return value
        return torch.full(value.shape, self._fill, dtype=value.dtype, device=value.device)


def _keys(value: Any) -> list[Any] | None:
    return list(value) if isinstance(value, dict) else None


def _outline(value: Any) -> Any:
    """Whole numbers are kept as they are: they may be places."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return _Outline(value.shape, value.dtype, value.device)
    return value


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, _Outline))


def _asks_for_shape(n: fx.Node) -> bool:
    if n.target is getattr:
        return n.args[1] in _OF_THE_SHAPE
    return (n.target if isinstance(n.target, str) else getattr(n.target, "__name__", "")) in _OF_THE_SHAPE
