"""``convert``, ``plan``, ``explain``, ``min_budget`` and ``restore``: the way in and the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import nn

from .. import devices
from ..capture import graph as graphs
from ..capture import tied_weights as tied
from ..capture.behaviour import has_global_hooks
from ..capture.torch_prefix import torch_prefix
from ..errors import UnsupportedModel
from ..planning.choice import Choice, by_names
from ..planning.explain import explain as explanation
from ..planning.layouts import Layouts
from ..planning.plan import Plan
from ..planning.planner import Planner
from ..planning.request import Request, checked
from ..samplers import Sampler, resolve
from ..units import parse_bytes
from .engine import Engine
from .sparse_model import SparseModel
from .verification import verify


def convert(
    model: nn.Module,
    budget: int | str = "256KB",
    *,
    input_size: tuple[int, int, int] = (3, 224, 224),
    batch_size: int = 1,
    max_update_ratio: float | None = None,
    ratios: Mapping[str, float] | None = None,
    sampler: str | Sampler = "random",
    resample_every: int = 1,
    momentum: bool = False,
    normalise: bool = False,
    gradients: str = "in_place",
    seed: int = 0,
    train_bias: bool = True,
) -> SparseModel:
    """Turns a pretrained network into one that fine-tunes inside ``budget`` bytes of training memory.

    The method is dynamic gradient sparse update (Li & Chang, ISCAS 2024, arXiv 2503.17959). The model is
    taken over: the result shares its modules and parameters, whose memory is reordered in place, and no
    second copy of the weights exists. Batch norms are frozen; their shifts train. The plan alone says what
    trains: ``requires_grad`` follows it, whatever it was; ``ratios`` of 0 freeze layers.

    Args:
        model: module that maps one image batch to one tensor; float32 (on the CPU also float64), on one device.
        budget: bytes of training memory, as an int or ``"256KB"`` (262 144).
        input_size: (C, H, W) of the images.
        batch_size: images of one training call; larger batches go through :func:`sparsebp.fit_step`.
        max_update_ratio: largest share of all convolution weights that one step may touch, in (0, 1].
        ratios: layer names (globs allowed) to the share of their channels to train; 0 freezes a layer.
        sampler: ``"random"``, ``"cyclic"``, ``"importance"``, ``"top-k"``, ``"static"``, or a Sampler.
        resample_every: optimizer steps from one draw of the channels to the next.
        momentum: reserve momentum state for what is selected.
        normalise: reserve what ``sparsebp.optim.SGD(..., normalise=True)`` needs, some hundred bytes.
        gradients: ``"in_place"`` updates each weight row as soon as its gradient is known; ``"sum"`` reserves the
            bytes to sum gradients until the optimizer's step, so that several micro-batches are one exact batch and
            gradients can be clipped.
        seed: of dropout, and of a sampler that has no seed of its own.
        train_bias: train batch-norm shifts and convolution biases of the span.

    Raises:
        BudgetExceeded: nothing fits; ``required`` says what would.
        UnsupportedModel: an op has no native counterpart where one is needed.
        TypeError, ValueError: an argument is wrong, or weights are tied, or of a type or on a device that programs
            do not run on.
    """
    settings = {
        "budget": budget,
        "input_size": input_size,
        "batch_size": batch_size,
        "max_update_ratio": max_update_ratio,
        "ratios": dict(ratios) if isinstance(ratios, Mapping) else ratios,
        "sampler": sampler,
        "resample_every": resample_every,
        "momentum": momentum,
        "normalise": normalise,
        "gradients": gradients,
        "seed": seed,
        "train_bias": train_bias,
    }
    planner, bytes_ = _planner(model, budget, settings)
    return _converted(model, planner, planner.best(bytes_), bytes_, settings)


def convert_as(model: nn.Module, choice: Choice | Mapping[str, Any], settings: Mapping[str, Any]) -> SparseModel:
    """Converts by a choice that was made before: nothing is planned.

    Args:
        model: as for :func:`convert`.
        choice: made for such a model, or what :meth:`Choice.named` returned.
        settings: the budget, and the other keywords of :func:`convert`.

    Raises:
        ValueError: the choice was made for another network.
        BudgetExceeded, UnsupportedModel, TypeError, ValueError: as :func:`convert`.
    """
    rest = {k: v for k, v in settings.items() if k != "budget"}
    complete = {"budget": settings["budget"], **_complete(rest)}
    bytes_, request, graph = _read(model, complete["budget"], complete)
    known = choice if isinstance(choice, Choice) else by_names(choice, graph)
    return _converted(model, Layouts(graph, model, request.input_size), known, bytes_, complete)


def plan(model: nn.Module, budget: int | str = "256KB", **settings: Any) -> Plan:
    """The plan that :func:`convert` would make, with the same keywords; the model stays as it is.

    Raises:
        BudgetExceeded, UnsupportedModel, TypeError, ValueError: as :func:`convert`.
    """
    planner, bytes_ = _planner(model, budget, _complete(settings))
    return planner.plan(planner.best(bytes_), bytes_)


def explain(model: nn.Module, budget: int | str = "256KB", **settings: Any) -> list[str]:
    """Why the plan that :func:`plan` makes with the same arguments is what it is: paragraphs of text.

    Raises:
        BudgetExceeded, UnsupportedModel, TypeError, ValueError: as :func:`convert`.
    """
    planner, bytes_ = _planner(model, budget, _complete(settings))
    return explanation(planner, planner.plan(planner.best(bytes_), bytes_))


def min_budget(model: nn.Module, **settings: Any) -> int:
    """The smallest budget in bytes for which :func:`convert` works with the same keywords.

    Raises:
        UnsupportedModel, TypeError, ValueError: as :func:`convert`; no budget is enough for an update ratio so small.
    """
    if "budget" in settings:
        raise TypeError("min_budget takes no budget; it returns one")
    planner, _ = _planner(model, 1, _complete(settings))
    return planner.smallest()[0]


def restore(model: SparseModel) -> nn.Module:
    """The original module with the trained weights, contiguous again. The converted one is spent.

    Raises:
        TypeError: not a converted model.
        RuntimeError: it was restored already.
    """
    if not isinstance(model, SparseModel):
        raise TypeError(f"model: expected what sparsebp.convert returned, got {type(model).__name__}")
    original = model.original
    training = model.training
    model.engine  # noqa: B018 - raises if it was restored already
    model._release()
    original.train(training)
    return original


_DEFAULTS = {p.name: p.default for p in signature(convert).parameters.values() if p.kind is p.KEYWORD_ONLY}


def _complete(settings: dict[str, Any]) -> dict[str, Any]:
    unknown = set(settings) - set(_DEFAULTS)
    if unknown:
        raise TypeError(f"unexpected keyword {sorted(unknown)[0]!r}; expected {', '.join(_DEFAULTS)}")
    return {**_DEFAULTS, **settings}


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, SparseModel):
        raise TypeError("model: it is converted already; sparsebp.restore(model) gives the original back")
    if has_global_hooks():
        raise UnsupportedModel(
            "hooks for all modules are registered, which native layers would never call; remove them"
        )
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks:
            raise UnsupportedModel(
                f"model: {name} has a hook on its gradient, which does not exist natively; remove it"
            )
        if nn.parameter.is_lazy(parameter):
            raise UnsupportedModel(f"model: {name} has no shape yet; run the model once before")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"model: {name} is {parameter.dtype}; expected float32 (or float64)")
        devices.check(parameter.device, parameter.dtype, f"model: {name}")
    tied.check_parameters(model)
    places = {p.device for p in model.parameters()}
    if len(places) > 1:
        raise ValueError(f"model: it is spread over {' and '.join(map(str, places))}; expected one device")
    dtypes = {p.dtype for p in model.parameters()}
    if len(dtypes) > 1:
        raise TypeError(f"model: its parameters mix {' and '.join(map(str, dtypes))}; expected one dtype")
    if not dtypes:
        raise UnsupportedModel("model: it has no parameters")


@contextmanager
def _readable(model: nn.Module) -> Iterator[None]:
    """Errors of the model's own code, and what nobody has thought of, become UnsupportedModel."""
    try:
        yield
    except (UnsupportedModel, ValueError, MemoryError):
        raise
    except Exception as error:
        raise UnsupportedModel(f"{type(model).__name__} cannot be read: {type(error).__name__}: {error}") from error


def _read(model: nn.Module, budget: int | str, settings: dict[str, Any]) -> tuple[int, Request, graphs.Graph]:
    """Budget, request and the model's graph, all of them checked."""
    bytes_, request = parse_bytes(budget), checked(settings)
    _check_model(model)
    with _readable(model):
        graph = graphs.build(model, request.input_size)
        tied.check_uses(graph, model)
    return bytes_, request, graph


def _planner(model: nn.Module, budget: int | str, settings: dict[str, Any]) -> tuple[Planner, int]:
    bytes_, request, graph = _read(model, budget, settings)
    with _readable(model):
        return Planner(graph, model, request), bytes_


def _converted(
    model: nn.Module, layouts: Layouts, choice: Choice, budget: int, settings: dict[str, Any]
) -> SparseModel:
    graph, factory = layouts.graph, layouts.factory
    layers = []
    for layer in factory.layer_ids:
        item = graph.layers[layer]
        layers.append((model.get_submodule(item.name), model.get_submodule(item.norm) if item.norm else None))
    with _readable(model):
        before = torch_prefix(graph, model)
    engine = Engine(
        factory.make(choice),
        layers,
        budget,
        resolve(settings["sampler"], settings["seed"]),
        settings["resample_every"],
        next(model.parameters()).dtype,
        seed=settings["seed"],
    )
    converted = SparseModel(model, graph, before, layouts.plan(choice, budget), engine, settings, _rebuild)
    try:
        verify(converted, graph)
    except UnsupportedModel:
        converted._release()
        raise
    return converted


def _rebuild(original: nn.Module, settings: dict[str, Any], state: dict[str, Any]) -> SparseModel:
    """A converted model from its pickled or copied parts."""
    if "choice" not in state:
        raise ValueError(
            "this converted model was pickled by an older sparsebp, without its plan; convert the original model again "
            "and load the state_dict"
        )
    model = convert_as(original, state["choice"], settings)
    model.engine.load_state(state["engine"])
    model._requires_grad = state["requires_grad"]
    return model.train(state["training"])
