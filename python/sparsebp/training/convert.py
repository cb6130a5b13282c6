"""``convert``, ``plan``, ``explain``, ``min_budget`` and ``restore``: the way in and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec

from torch import nn

from ..capture.torch_prefix import torch_prefix
from ..capture.torch_tail import torch_tail
from ..errors import UnsupportedModel
from ..planning.choice import by_names
from ..planning.explain import explain as explanation
from ..planning.layouts import Layouts
from ..planning.plain_data import first_difference
from ..planning.plan import Plan
from ..planning.planner import Planner
from ..planning.request import DEFAULTS, Request, checked
from ..samplers import Sampler, resolve
from ..units import parse_bytes
from .engine import Engine
from .reading import read, readable
from .sparse_model import SparseModel
from .verification import verify
from .weight_memory import sources_of

P = ParamSpec("P")


def _or_as_planned(planning: Callable[P, SparseModel]) -> Callable[P, SparseModel]:
    """Where ``plan`` is given nothing is planned: whatever else is given has to agree with it."""

    @wraps(planning)
    def call(*args: P.args, **keywords: P.kwargs) -> SparseModel:
        if keywords.get("plan") is None:
            return planning(*args, **keywords)
        given = signature(planning).bind(*args, **keywords).arguments
        return _as_planned(given.pop("model"), given.pop("plan"), given)

    return call


@_or_as_planned
def convert(
    model: nn.Module,
    budget: int | str = "256KB",
    *,
    plan: Plan | None = None,
    input_size: tuple[int, ...] = (3, 224, 224),
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
    scope: str = "training",
    pictures: str = "arena",
    saved_bits: int = 32,
    aux: bool = True,
    activation_bits: int | None = None,
) -> SparseModel:
    """Turns a pretrained network into one that fine-tunes inside ``budget`` bytes of memory.

    The method is dynamic gradient sparse update (Li & Chang, ISCAS 2024, arXiv 2503.17959). The model is
    taken over: the result shares its modules and parameters, whose memory is reordered in place, and no
    second copy of the weights exists. Batch norms are frozen; their shifts train. The plan alone says what
    trains: ``requires_grad`` follows it, whatever it was; ``ratios`` of 0 freeze layers.

    Args:
        model: module that takes one image batch and returns a tensor, or a structure of some; float32 (on the CPU also
            float64), on one device. What comes after its last layer runs in torch if it is not native and has no
            weights, as part of the loss: the budget does not cover it.
        budget: bytes of memory, as an int or ``"256KB"`` (262 144); ``scope`` says of which.
        plan: made before, by :func:`plan` or read by :meth:`Plan.load`, for a network like this one: it is used as it
            is, and nothing is planned. Its settings count; those given beside it must agree.
        input_size: (C, H, W) of the images, or (C, L) of signals for a network of Conv1d.
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
        scope: ``"training"``: the budget covers what training needs beyond inference. ``"step"``: all that a step
            needs but the weights, activations and images included; then inference needs no more than training, and
            nothing else may run between a forward pass and its backward pass. On processors only.
        pictures: with scope ``"step"``, whether the ``"arena"`` has room for a micro-batch of images as bytes, which
            sessions train on, or these lie ``"elsewhere"``, in a camera's memory or a file.
        saved_bits: 8 lets blocks keep their input in 8 bits for the backward pass and make the rest again, where that
            takes fewer bytes: gradients then have its error, and steps take longer. With 32 nothing is rounded. On
            processors only.
        aux: False leaves out what a network adds in training mode only, auxiliary heads for example: it trains as it
            is evaluated, but for dropout and the like.
        activation_bits: 2 to 8 keeps of SiLU, GELU and other curves their derivative in so many bits instead of their
            input: gradients then have its error (docs/ops.md). With None nothing is rounded.

    Raises:
        BudgetExceeded: nothing fits; ``required`` says what would.
        UnsupportedModel: an op has no native counterpart where one is needed; with scope ``"step"`` all do.
        TypeError, ValueError: an argument is wrong or contradicts the plan, the plan is damaged or was made for another
            network, or weights are tied, or of a type or on a device that programs do not run on.
    """
    settings = {
        "input_size": input_size,
        "batch_size": batch_size,
        "max_update_ratio": max_update_ratio,
        "ratios": ratios,
        "sampler": sampler,
        "resample_every": resample_every,
        "momentum": momentum,
        "normalise": normalise,
        "gradients": gradients,
        "seed": seed,
        "train_bias": train_bias,
        "scope": scope,
        "pictures": pictures,
        "saved_bits": saved_bits,
        "aux": aux,
        "activation_bits": activation_bits,
    }
    planner, bytes_ = _planner(model, budget, settings)
    made = planner.plan(planner.best(bytes_), bytes_)
    return _converted(model, planner, made, resolve(sampler, seed))


def plan(model: nn.Module, budget: int | str = "256KB", **settings: Any) -> Plan:
    """The plan that :func:`convert` would make, with the same keywords; the model stays as it is.

    Raises:
        BudgetExceeded, UnsupportedModel, TypeError, ValueError: as :func:`convert`.
    """
    planner, bytes_ = _planner(model, budget, _complete(settings))
    return planner.plan(planner.best(bytes_), bytes_)


def plan_as_chosen(model: nn.Module, choice: Mapping[str, Any], budget: int | str = "256KB", **settings: Any) -> Plan:
    """The plan of a choice that was kept without one, as older checkpoints do; nothing is planned.

    Args:
        model: as for :func:`convert`.
        choice: what :meth:`Choice.named` returned.
        budget: as for :func:`convert`.
        **settings: likewise.

    Raises:
        ValueError: the choice was made for another network, or with other settings.
        UnsupportedModel, TypeError, ValueError: as :func:`convert`.
    """
    bytes_, request = parse_bytes(budget), checked(_complete(settings))
    layouts = Layouts(read(model, request.input_size, request.aux), model, request)
    made = layouts.plan(by_names(choice, layouts.network), bytes_)
    made.check()
    return made


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


def _complete(settings: dict[str, Any]) -> dict[str, Any]:
    unknown = set(settings) - set(DEFAULTS)
    if unknown:
        raise TypeError(f"unexpected keyword {sorted(unknown)[0]!r}; expected {', '.join(DEFAULTS)}")
    return {**DEFAULTS, **settings}


def _planner(model: nn.Module, budget: int | str, settings: Mapping[str, Any]) -> tuple[Planner, int]:
    bytes_, request = parse_bytes(budget), checked(settings)
    graph = read(model, request.input_size, request.aux)
    with readable(model):
        return Planner(graph, model, request), bytes_


def _as_planned(model: nn.Module, plan: Plan, given: Mapping[str, Any]) -> SparseModel:
    """``model`` converted by a plan of which nothing is trusted.

    Args:
        model: as for :func:`convert`.
        plan: made for such a model.
        given: the arguments of :func:`convert` that stand beside it.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan: expected a sparsebp.Plan, as Plan.load(path) reads it, got {type(plan).__name__}")
    sampler = _agreed(plan, given)
    layouts = Layouts(read(model, plan.input_size, plan.request.aux), model, plan.request)
    difference = plan.network.difference(layouts.network)
    if difference is not None:
        raise ValueError(
            f"plan: it was made for another network, {plan.network.digest[:12]}, and this one is "
            f"{layouts.network.digest[:12]}: {difference}; plan anew, for as many classes"
        )
    try:
        derived = layouts.plan(plan.choice, plan.budget)
    except UnsupportedModel as error:  # what was planned for this network was a program
        raise ValueError(f"plan.choice: {error}; it is damaged, or another version made it") from error
    if derived != plan:
        wrong = first_difference(derived.to_dict(), plan.to_dict(), "plan")
        raise ValueError(f"{wrong}; so this sparsebp lays the plan out. It is damaged, or another version made it")
    return _converted(model, layouts, plan, sampler)


def _agreed(plan: Plan, given: Mapping[str, Any]) -> Sampler:
    """The sampler of a plan; raises ValueError if something given contradicts the plan."""
    keywords = dict(given)
    budget = parse_bytes(keywords.pop("budget", plan.budget))
    asked = plan.request.with_keywords(keywords)
    pairs = [("budget", plan.budget, budget)]
    pairs += [(f.name, getattr(plan.request, f.name), getattr(asked, f.name)) for f in fields(Request)]
    for name, planned, wanted in pairs:
        if planned != wanted:
            raise ValueError(
                f"{name}: {wanted} was given, but the plan was made with {planned}; leave it out, or plan anew"
            )
    return resolve(keywords["sampler"], plan.request.seed) if "sampler" in keywords else plan.request.sampler.make()


def _converted(model: nn.Module, layouts: Layouts, plan: Plan, sampler: Sampler) -> SparseModel:
    graph, factory = layouts.graph, layouts.factory
    layers = [sources_of(model, graph.layers[layer].tensors) for layer in factory.layer_ids]
    with readable(model):
        before, after = torch_prefix(graph, model), torch_tail(graph, model)
    request = plan.request
    dtype = next(model.parameters()).dtype
    spec = factory.make(plan.choice)
    engine = Engine(spec, layers, plan.budget, sampler, request.resample_every, dtype, seed=request.seed)
    converted = SparseModel(model, graph, before, after, plan, engine, _rebuild)
    try:
        verify(converted, graph)
    except UnsupportedModel:
        converted._release()
        raise
    return converted


def _rebuild(original: nn.Module, plan: Plan, sampler: Sampler, state: dict[str, Any]) -> SparseModel:
    """A converted model from its pickled or copied parts."""
    model = convert(original, plan=plan, sampler=sampler)
    model.engine.load_state(state["engine"])
    model._requires_grad = state["requires_grad"]
    return model.train(state["training"])
