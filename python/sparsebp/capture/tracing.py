"""Following a model in training and in evaluation mode, and running it once for the shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from .. import _C
from ..errors import UnsupportedModel
from .behaviour import has_hooks, keeps_statistics, patched
from .dropouts import drop_as_trained
from .preserve import Undo, unchanged
from .probe import probe, run_both, without_zeros
from .tracer import follow

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


def trace(model: nn.Module, input_size: tuple[int, ...], aux: bool = True) -> tuple[Traces, list[torch.Tensor] | None]:
    """Follows ``model`` in both modes; every parameter and buffer keeps its bits.

    A module that computes different things in the two modes is kept whole. The evaluation trace is run on random
    images, and has to return what the model returns for them.

    Args:
        model: the network.
        input_size: (C, H, W) of an image, or (C, L) of a signal.
        aux: False follows a module of which training mode runs more than evaluation, such as auxiliary heads, as in
            evaluation; what is inside it is in training mode all the same.

    Returns:
        The traces, and what :func:`.probe.run_both` returned.

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
    x, third = probe(2, input_size, tensor), probe(1, input_size, tensor, seed=1)
    with _plainly(tensor.device.type), unchanged(model) as undo:
        evaluation, training, differing = _in_both_modes(model, x, aux, undo)
        model.eval()
        _C.release_free_memory()  # running the model takes the most memory of all that converting does
        with without_zeros(model):
            expected = run_both(model, evaluation, x, third)
    _C.release_free_memory()
    return Traces(evaluation, training, len(x), tensor.dtype, frozenset(differing)), expected


@contextmanager
def _plainly(device: str) -> Iterator[None]:
    """Gradients on, so that a ``no_grad`` inside shows, and autocast off."""
    with torch.autocast(device, enabled=False), torch.enable_grad():
        yield


def _in_both_modes(
    model: nn.Module, images: torch.Tensor, aux: bool, undo: Undo
) -> tuple[fx.GraphModule, fx.GraphModule, set[nn.Module]]:
    whole: set[nn.Module] = set()  # grows while tracing, by what torch.fx cannot follow
    differing: set[nn.Module] = set()
    as_evaluated: dict[str, fx.GraphModule] = {}  # modules that are followed so, and a trace from when they were not
    while True:
        evaluation = _follow(model, False, whole, images, undo)
        followed = len(whole)
        training = _follow(model, True, whole, images, undo, as_evaluated)
        if len(whole) > followed:
            continue  # whole in one mode, whole in the other
        culprit = _first_difference(evaluation, training)
        if culprit is None:
            return evaluation, training, differing
        owner, what = culprit
        module = model.get_submodule(owner)
        if not aux and owner not in as_evaluated and any(True for _ in module.parameters()):
            as_evaluated[owner] = training
            continue
        if not owner:
            raise UnsupportedModel(
                f"{type(model).__name__}.forward does different things in training mode and in evaluation mode: "
                f"{what}. Only dropout and the like may differ; aux=False leaves out what training mode adds, or give "
                "sparsebp the part of the model that both modes share"
            )
        alike = not any(True for _ in module.parameters())  # what has no weights costs nothing to keep whole
        differing |= {m for m in model.modules() if m is module or (alike and type(m) is type(module))}
        whole |= differing


def _follow(
    model: nn.Module,
    training: bool,
    whole: set[nn.Module],
    images: torch.Tensor,
    undo: Undo,
    as_evaluated: Mapping[str, fx.GraphModule] = MappingProxyType({}),
) -> fx.GraphModule:
    model.train(training)
    for m in filter(keeps_statistics, model.modules()):
        m.training = False
    for name in as_evaluated:
        model.get_submodule(name).training = False
    traced = follow(model, whole, images)
    undo()
    for name, trained in as_evaluated.items():
        drop_as_trained(traced, trained, name)
    return traced


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
