"""Following a model with torch.fx, and the shapes of everything on the way."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from .errors import UnsupportedModel
from .fx_ops import has_hooks

#: Called by name; of an augmented assignment torch.fx records the plain operator.
_IN_PLACE_OPERATORS = {f"__i{op}__" for op in ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod")}


class _Tracer(fx.Tracer):
    """Traces into what it can; a submodule that fx cannot follow, or with hooks, stays one opaque op."""

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path) or has_hooks(m):
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


def trace(model: nn.Module, input_size: tuple[int, int, int]) -> tuple[fx.GraphModule, fx.GraphModule]:
    """The model as traced in training mode and in evaluation mode: the same nodes, with other arguments.

    A functional dropout shows in training mode only. The graphs share the model's modules. Nodes of the
    first carry ``meta["tensor_meta"]`` for one image of ``input_size``, from a run in evaluation mode,
    which changes no statistics.

    Raises:
        UnsupportedModel: torch.fx cannot follow the outermost ``forward``, it rejects the input, it does
            different things in the two modes, or the model as a whole has hooks, which tracing would drop.
    """
    kind = type(model).__name__
    if has_hooks(model):
        raise UnsupportedModel(f"{kind} is a model with hooks of its own; remove them, and hook the converted model")
    traced, evaluated = _follow(model, True), _follow(model, False)
    trained_nodes, evaluated_nodes = ([(n.op, n.target, n.name) for n in g.graph.nodes] for g in (traced, evaluated))
    if trained_nodes != evaluated_nodes:
        raise UnsupportedModel(f"{kind}.forward does different things in training mode and in evaluation mode")
    tensor = next(model.parameters(), None)
    dtype, device = (tensor.dtype, tensor.device) if tensor is not None else (torch.float32, None)
    # `traced` owns new Sequential shells but the model's own leaves; the modes of those must come back.
    with _modes(model, False), torch.no_grad():
        traced.eval()
        try:
            with redirect_stderr(io.StringIO()):  # ShapeProp prints what it is about to raise
                ShapeProp(traced).propagate(torch.zeros((1, *input_size), dtype=dtype, device=device))
        except Exception as error:
            raise UnsupportedModel(
                f"{kind} does not accept an input of size {(1, *input_size)}: {error.__cause__ or error}"
            ) from error
    return traced, evaluated


def _follow(model: nn.Module, training: bool) -> fx.GraphModule:
    tracer = _Tracer()
    with _modes(model, training):
        try:
            graph = tracer.trace(model)
        except Exception as error:
            raise UnsupportedModel(f"{type(model).__name__}.forward cannot be traced by torch.fx: {error}") from error
    traced = fx.GraphModule(tracer.root, graph)
    _read_after_write(traced)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _read_after_write(traced: fx.GraphModule) -> None:
    """Whoever reads a tensor that an in-place op has changed reads that op's result, which is the same tensor.

    Then no op of the graph needs to be run in place, and none whose result is used is dead code.
    """
    modules = dict(traced.named_modules())
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    origin: dict[fx.Node, fx.Node] = {}  # nodes that are one tensor have one origin
    for node in order:
        first = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else node.kwargs.get("input")
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        writes = isinstance(first, fx.Node) and _in_place(node, module)
        if isinstance(first, fx.Node) and (writes or isinstance(module, nn.Identity)):
            origin[node] = origin.get(first, first)
        if not writes:
            continue
        for other in order:
            if other is not node and origin.get(other, other) is origin[node] and order[other] < order[node]:
                for reader in [r for r in other.users if order[r] > order[node]]:
                    reader.replace_input_with(other, node)


def _in_place(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a node changes its first argument."""
    if module is not None:
        return getattr(module, "inplace", False) is True
    if node.op not in ("call_function", "call_method"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if name.startswith("__"):
        return name in _IN_PLACE_OPERATORS
    if node.op == "call_function" and getattr(node.target, "__module__", "") == "_operator":
        return f"__{name}__" in _IN_PLACE_OPERATORS
    return name.endswith("_") or _argument(node, "inplace") is True


def _argument(node: fx.Node, name: str) -> Any:
    """An argument of a function by its name, however it was passed."""
    if name in node.kwargs or not callable(node.target):
        return node.kwargs.get(name)
    try:
        return inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments.get(name)
    except (TypeError, ValueError):  # a builtin without a signature
        return None
