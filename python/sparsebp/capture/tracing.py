"""Following a model with torch.fx, in training and in evaluation mode, and running it once for the shapes."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.fx.proxy import TraceError

from ..errors import UnsupportedModel
from .behaviour import has_hooks, is_leaf, patched
from .in_place import is_dead, untangle
from .preserve import random_state, unchanged
from .shapes import record

#: Relative difference of two runs of one network: of the same ops, and of the same image in another batch.
_SAME, _ROUNDING = 1e-4, 1e-3

#: Classes around a network, and where the network itself is.
_WRAPPERS = {
    "DataParallel": "model.module",
    "DistributedDataParallel": "model.module",
    "OptimizedModule": "model._orig_mod, the one that was given to torch.compile",
    "ScriptModule": "the one that was given to torch.jit",
}


class Traces(NamedTuple):
    """A model as traced in either mode: the same nodes, with other arguments. The graphs share its modules.

    Nodes of ``evaluation`` carry shapes and values for ``images`` images (:func:`.shapes.record`). Nodes of both carry
    ``meta["owner"]``, the name of the module in whose ``forward`` they are, and ``meta["no_grad"]``.
    """

    evaluation: fx.GraphModule
    training: fx.GraphModule
    images: int
    dtype: torch.dtype
    differing: frozenset[nn.Module]  # modules kept whole since they compute different things in the two modes


class _Proxy(fx.Proxy):
    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("tracer", "node"):  # `weight.data = ...` would be lost
            raise TraceError(f"an assignment to .{name} of a traced tensor")
        super().__setattr__(name, value)


class _Tracer(fx.Tracer):
    """Traces into what it can; a submodule that fx cannot follow, or with hooks, stays one opaque op."""

    proxy_buffer_attributes = True  # a buffer may be loaded later; its numbers are not constants

    def __init__(self, whole: set[nn.Module]) -> None:
        super().__init__()
        self._whole = whole
        self._inside = [""]
        self._parameters: dict[str, fx.Proxy] = {}  # torch.fx's own table of those that were asked for

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        self._parameters = parameter_proxy_cache
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        path = self.path_of_module(m)
        if m in self._whole or is_leaf(m) or self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        before, stack = set(self.graph.nodes), dict(self.module_stack)
        self._inside.append(path)
        try:
            with _same_buffers(m):
                return super().call_module(m, forward, args, kwargs)
        except Exception:
            self._whole.add(m)
            self._forget([node for node in self.graph.nodes if node not in before])
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

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
            raise TraceError("autocast is switched on inside it")
        node = super().create_node(*args, **kwargs)
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


def trace(model: nn.Module, input_size: tuple[int, int, int]) -> Traces:
    """Follows ``model`` in both modes; every parameter and buffer keeps its bits.

    A module that computes different things in the two modes is kept whole. The evaluation trace is run on random
    images, and has to return what the model returns for them.

    Raises:
        UnsupportedModel: torch.fx cannot follow the outermost ``forward``, or follows it wrongly; it rejects the
            input, does different things in the two modes, or mixes the images of a batch; the model as a whole
            has hooks or a patched ``forward``, which tracing would drop.
    """
    kind = type(model).__name__
    for wrapper, inner in _WRAPPERS.items():
        if any(c.__name__ == wrapper for c in type(model).__mro__):
            raise UnsupportedModel(f"{kind} wraps a model for other purposes; give sparsebp {inner}")
    if has_hooks(model):
        raise UnsupportedModel(f"{kind} is a model with hooks of its own; remove them, and hook the converted model")
    if patched(model):
        raise UnsupportedModel(
            f"{kind}.{patched(model)} of this model was replaced by another one. Give sparsebp the model before that, "
            "or, if it is meant to be so, wrap it: torch.nn.Sequential(model)"
        )
    tensor = next(model.parameters())
    with _plainly(tensor.device.type):
        evaluation, training, whole = _in_both_modes(model)
        with unchanged(model):
            model.eval()
            _fill_zeros(model)
            x = probe(2, input_size, tensor)
            _measure(model, evaluation, x)
    return Traces(evaluation, training, len(x), tensor.dtype, frozenset(whole))


def probe(images: int, input_size: tuple[int, int, int], like: torch.Tensor) -> torch.Tensor:
    """Random images, always the same, of the type and on the device of ``like``."""
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn((images, *input_size), generator=generator, device="cpu").to(like)


def _fill_zeros(model: nn.Module) -> None:
    """Behind a weight of zeros, as fresh heads often have, nothing that was misread would show.

    The noise lies elsewhere: writing into the weights and back would tell autograd of a change.
    """
    generator = torch.Generator("cpu").manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                noise = torch.randn(parameter.shape, generator=generator, device="cpu")
                parameter.data = torch.empty_like(parameter).copy_(noise).div_(10)


@contextmanager
def _plainly(device: str) -> Iterator[None]:
    """Gradients on, so that a ``no_grad`` inside shows, and autocast off."""
    with torch.autocast(device, enabled=False), torch.enable_grad():
        yield


def _in_both_modes(model: nn.Module) -> tuple[fx.GraphModule, fx.GraphModule, set[nn.Module]]:
    whole: set[nn.Module] = set()  # grows while tracing, by what torch.fx cannot follow
    differing: set[nn.Module] = set()
    while True:
        evaluation = _follow(model, False, whole)
        followed = len(whole)
        training = _follow(model, True, whole)
        if len(whole) > followed:
            continue  # whole in one mode, whole in the other
        culprit = _first_difference(evaluation, training)
        if culprit is None:
            return evaluation, training, differing
        owner, what = culprit
        if not owner:
            raise UnsupportedModel(
                f"{type(model).__name__}.forward does different things in training mode and in evaluation mode: "
                f"{what}. Only dropout and the like may differ; leave out what training adds (aux_logits=False for "
                "networks of torchvision), or give sparsebp the part of the model that both modes share"
            )
        module = model.get_submodule(owner)
        alike = not any(True for _ in module.parameters())  # what has no weights costs nothing to keep whole
        differing |= {m for m in model.modules() if m is module or (alike and type(m) is type(module))}
        whole |= differing


def _follow(model: nn.Module, training: bool, whole: set[nn.Module]) -> fx.GraphModule:
    with unchanged(model):
        model.train(training)
        return _trace(model, whole)


def _trace(model: nn.Module, whole: set[nn.Module]) -> fx.GraphModule:
    tracer = _Tracer(whole)
    try:
        with _same_buffers(model):
            graph = tracer.trace(model, _defaults(model))
        traced = fx.GraphModule(tracer.root, graph)
        untangle(traced)
        for node in reversed(traced.graph.nodes):
            if is_dead(node):
                traced.graph.erase_node(node)
        traced.recompile()
    except Exception as error:
        raise UnsupportedModel(
            f"{type(model).__name__}.forward cannot be traced by torch.fx: {error}. A submodule that it cannot follow "
            "is taken as it is: move such code out of the outermost forward"
        ) from error
    return traced


def _defaults(model: nn.Module) -> dict[str, Any]:
    """The optional arguments of a forward, which keep their plain values."""
    parameters = list(inspect.signature(type(model).forward).parameters.values())[2:]
    plain = (bool, int, float, str, type(None))
    return {p.name: p.default for p in parameters if p.default is not p.empty and isinstance(p.default, plain)}


def _first_difference(evaluation: fx.GraphModule, training: fx.GraphModule) -> tuple[str, str] | None:
    """The first node that only one mode has: the module whose forward it is in, and what it is."""

    def key(node: fx.Node) -> tuple[str, Any, str]:
        return node.op, node.target, node.name

    for a, b in zip_longest(evaluation.graph.nodes, training.graph.nodes):
        if a is not None and b is not None and key(a) == key(b):
            continue
        later = {(n.op, n.target) for n in training.graph.nodes if b is not None and n > b}
        added = b is not None and (a is None or a.op == "output" or (a.op, a.target) in later)
        node, mode = (b, "training") if added or a is None else (a, "evaluation")
        assert node is not None
        where = f" in {node.meta['owner']}" if node.meta.get("owner") else ""
        return node.meta.get("owner", ""), f"{node.target}{where} belongs to {mode} mode only"
    return None


def _measure(model: nn.Module, evaluation: fx.GraphModule, x: torch.Tensor) -> None:
    """Shapes and values of the nodes of ``evaluation``, and whether it does what ``model`` does."""
    kind = type(model).__name__

    def seeded(run: Callable[[], Any]) -> Any:
        torch.manual_seed(0)
        return run()

    with torch.no_grad():
        try:
            before = seeded(lambda: random_state(x.device))
            expected = seeded(lambda: model(x.clone()))
            draws = not torch.equal(before, random_state(x.device))
            alone = expected if draws else model(x[:1].clone())
        except Exception as error:
            raise UnsupportedModel(f"{kind} does not accept an input of size {tuple(x.shape)}: {error}") from error
        try:
            with redirect_stderr(io.StringIO()):  # torch.fx prints where it was when something is raised
                got = seeded(lambda: record(evaluation, x.clone()))
        except Exception as error:
            raise UnsupportedModel(f"{kind} cannot be followed by torch.fx: its trace fails, {error}") from error
    if not isinstance(expected, torch.Tensor) or not isinstance(got, torch.Tensor):
        return  # refused later, by what it returns
    if not close(got, expected, _SAME):
        raise UnsupportedModel(
            f"{kind} cannot be followed by torch.fx: as traced it computes something else. Its forward may depend on "
            "what a trace cannot see, such as attributes that it changes"
        )
    if not draws and not close(alone, expected[:1], _ROUNDING):
        raise UnsupportedModel(
            f"{kind} mixes the images of a batch in evaluation mode: what it returns for one depends on the others. "
            "A batch norm without running statistics does so; expected a model that takes images one by one"
        )


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by at most ``tolerance``, relative to the norm of the second."""
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    finite = a.isfinite() & b.isfinite()
    difference = (a - b)[finite].norm()
    same = bool((a.isfinite() == b.isfinite()).all())
    return same and bool(difference <= tolerance * b[finite].norm())
