"""Following a model with torch.fx, and the shapes of everything on the way."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from .errors import UnsupportedModel


class _Tracer(fx.Tracer):
    """Traces into what it can; a submodule that fx cannot follow stays one opaque op."""

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        before = set(self.graph.nodes)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            for node in reversed(list(self.graph.nodes)):
                if node not in before:
                    self.graph.erase_node(node)
            return self.create_proxy("call_module", path, args, kwargs)


@contextmanager
def _modes(model: nn.Module, training: bool) -> Iterator[None]:
    before = {m: m.training for m in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for m, mode in before.items():
            m.training = mode


def trace(model: nn.Module, input_size: tuple[int, int, int]) -> fx.GraphModule:
    """A traced graph whose nodes carry ``meta["tensor_meta"]`` for one image of ``input_size``.

    The graph shares the model's modules. It is followed in training mode, so that a functional dropout
    shows; shapes come from a run in evaluation mode, which changes no statistics.

    Raises:
        UnsupportedModel: torch.fx cannot follow the outermost ``forward``, or it rejects the input.
    """
    kind = type(model).__name__
    tracer = _Tracer()
    with _modes(model, True):
        try:
            graph = tracer.trace(model)
        except Exception as error:
            raise UnsupportedModel(f"{kind}.forward cannot be traced by torch.fx: {error}") from error
    traced = fx.GraphModule(tracer.root, graph)
    graph = traced.graph
    graph.eliminate_dead_code()
    traced.recompile()
    tensor = next(model.parameters(), None)
    dtype = tensor.dtype if tensor is not None else torch.float32
    # `traced` owns new Sequential shells but the model's own leaves; the modes of those must come back.
    with _modes(model, False), torch.no_grad():
        traced.eval()
        try:
            with redirect_stderr(io.StringIO()):  # ShapeProp prints what it is about to raise
                ShapeProp(traced).propagate(torch.zeros((1, *input_size), dtype=dtype))
        except Exception as error:
            raise UnsupportedModel(
                f"{kind} does not accept an input of size {(1, *input_size)}: {error.__cause__ or error}"
            ) from error
    return traced
