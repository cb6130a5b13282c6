"""Following one forward pass of a model with torch.fx."""

from __future__ import annotations

import inspect
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import Attribute, TraceError

from ..errors import UnsupportedModel
from .behaviour import is_leaf
from .concrete import Concrete
from .in_place import is_dead, untangle


def follow(model: nn.Module, whole: set[nn.Module], images: torch.Tensor) -> fx.GraphModule:
    """The trace of ``model`` in the mode that it is in. It is read, and interpreted node by node; it cannot be called.

    Modules in ``whole`` stay one op each; those that torch.fx cannot follow are added to them. Where code asks for what
    follows from the shape of ``images``, two of them, it is told.

    Raises:
        UnsupportedModel: torch.fx cannot follow the outermost ``forward``.
    """
    tracer = _Tracer(whole, images)
    try:
        with _same_buffers(model):
            graph = tracer.trace(model, _defaults(model))
        traced = _Trace(tracer.root, graph)
        untangle(traced)
        for node in reversed(traced.graph.nodes):
            if is_dead(node):
                traced.graph.erase_node(node)
    except Exception as error:
        raise UnsupportedModel(
            f"{type(model).__name__}.forward cannot be traced by torch.fx: {error}. A submodule that it cannot follow "
            "is taken as it is: move such code out of the outermost forward"
        ) from error
    return traced


class _Trace(fx.GraphModule):
    def recompile(self) -> Any:
        """No Python code is written for it, which would take longer than tracing it did."""


class _Asked(fx.Proxy):
    """Tells what code asks that uses it as a plain value; torch.fx itself asks the tracer in ``bool`` and ``iter``."""

    tracer: _Tracer

    def __getattr__(self, k: str) -> _Attribute:
        return _Attribute(self, k)

    def __len__(self) -> int:
        return self.tracer.concrete.count(self.node)

    def __index__(self) -> int:
        return self.tracer.concrete.number(self.node, operator.index)  # type: ignore[no-any-return]

    def __int__(self) -> int:
        return self.tracer.concrete.number(self.node, int)  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return self.tracer.concrete.number(self.node, float)  # type: ignore[no-any-return]


class _Attribute(_Asked, Attribute):
    """``x.shape``: a node of its own only if it is not called as a method."""


class _Proxy(_Asked):
    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("tracer", "node"):  # `weight.data = ...` would be lost
            raise TraceError(f"an assignment to .{name} of a traced tensor")
        super().__setattr__(name, value)


#: Methods of dictionaries, and what they give for a key.
_OF_DICTIONARIES: dict[str, Callable[[Any, Any], Any]] = {
    "keys": lambda key, of: key,
    "values": lambda key, of: of[key],
    "items": lambda key, of: (key, of[key]),
}


class _Tracer(fx.Tracer):
    """Traces into what it can; a submodule that fx cannot follow, or with hooks, stays one opaque op."""

    proxy_buffer_attributes = True  # a buffer may be loaded later; its numbers are not constants

    def __init__(self, whole: set[nn.Module], images: torch.Tensor) -> None:
        super().__init__()
        self._whole = whole
        self._images = images
        self._inside = [""]
        self._created: list[fx.Node] = []
        self._parameters: dict[str, fx.Proxy] = {}  # torch.fx's own table of those that were asked for

    @cached_property
    def concrete(self) -> Concrete:
        """Answers what follows from shapes."""
        assert isinstance(self.root, nn.Module)
        return Concrete(self.root, self.graph, self._images)

    @property
    def _answers(self) -> bool:
        """Whether modules run to answer a question, which torch.fx would trace as well."""
        return "concrete" in vars(self) and self.concrete.running

    def to_bool(self, obj: fx.Proxy) -> bool:
        return self.concrete.truth(obj.node)

    def iter(self, obj: Any) -> Iterator[Any]:
        of = obj.node.args[0] if obj.node.op == "call_method" and obj.node.args else None
        if isinstance(of, fx.Node) and obj.node.target in _OF_DICTIONARIES:
            keys = self.concrete.keys(of)
            if keys is not None:
                each = _OF_DICTIONARIES[str(obj.node.target)]
                return iter([each(key, self.proxy(of)) for key in keys])
        keys = self.concrete.keys(obj.node)
        return iter(keys) if keys is not None else iter([obj[i] for i in range(self.concrete.count(obj.node))])

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if self._answers:
            return attr_val
        self._parameters = parameter_proxy_cache
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self._answers:
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        if m in self._whole or is_leaf(m) or self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        before, stack = len(self._created), dict(self.module_stack)
        self._inside.append(path)
        try:
            with _same_buffers(m):
                return super().call_module(m, forward, args, kwargs)
        except Exception:
            self._whole.add(m)
            self._forget(self._created[before:])
            del self._created[before:]
            self.module_stack.clear()
            self.module_stack.update(stack)
        finally:
            self._inside.pop()
        return self.create_proxy("call_module", path, args, kwargs)

    def _forget(self, nodes: list[fx.Node]) -> None:
        for node in reversed(nodes):
            self.graph.erase_node(node)
        gone = set(nodes)
        for name in [name for name, proxy in self._parameters.items() if proxy.node in gone]:
            del self._parameters[name]

    def create_arg(self, a: Any) -> Any:
        if type(a) is OrderedDict:  # torch.fx would make a plain dictionary of it
            return self.create_node("call_function", OrderedDict, (super().create_arg(list(a.items())),), {})
        return super().create_arg(a)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
            raise TraceError("autocast is switched on inside it")
        node = super().create_node(*args, **kwargs)
        self._created.append(node)
        node.meta["owner"] = self._inside[-1]
        node.meta["no_grad"] = not torch.is_grad_enabled()
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


@contextmanager
def _same_buffers(m: nn.Module) -> Iterator[None]:
    """Raises TraceError if a forward assigns buffers, of which a trace would see the first value only."""
    before = dict(m._buffers)
    try:
        yield
    finally:
        changed = [name for name, buffer in m._buffers.items() if before.get(name) is not buffer]
        m._buffers.clear()
        m._buffers.update(before)
    if changed:
        raise TraceError(f"its forward assigns the buffer {changed[0]}")


def _defaults(model: nn.Module) -> dict[str, Any]:
    """The optional arguments of a forward, which keep their plain values."""
    parameters = list(inspect.signature(type(model).forward).parameters.values())[2:]
    plain = (bool, int, float, str, type(None))
    return {p.name: p.default for p in parameters if p.default is not p.empty and isinstance(p.default, plain)}
