"""By what rules a plan file trains: those of an attached optimizer, or of keywords."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import _C
from ..samplers import NAMES
from .learning_rules import MOST, LearningRules, check_count
from .protocol import RuleSource
from .rules import Slot
from .sparse_model import SparseModel

_SAMPLINGS = {
    "random": _C.Sampling.uniform,
    "cyclic": _C.Sampling.cyclic,
    "importance": _C.Sampling.weighted,
    "top-k": _C.Sampling.largest,
    "static": _C.Sampling.fixed,
}
#: What an optimizer has a say in.
_OPTIMIZERS = ("lr", "bias_lr", "classifier_lr", "layer_rates", "momentum", "weight_decay", "normalise")


def make_recipe(
    model: SparseModel, given: Mapping[str, Any], epochs: int | None, examples: int | None, steps: int | None
) -> _C.Recipe:
    """The recipe of a plan file.

    Args:
        model: converted.
        given: fields of :class:`LearningRules` that the caller chose.
        epochs, examples, steps: where the schedule ends, as in :func:`sparsebp.export`.

    Raises:
        TypeError, ValueError: a rule is wrong, contradicts the attached optimizer, or needs what the plan does not
            reserve; no optimizer is attached and no rate is given; the sampler is one of the user's own.
    """
    optimizer = model.engine.optimizer
    rates = {name: value for name, value in given.items() if name in _OPTIMIZERS}
    if optimizer is None and not rates:
        raise ValueError(
            "model: no optimizer is attached, whose rates the file would hold, and none is given; make a "
            "sparsebp.optim.SGD, or give lr=..."
        )
    usual = {
        "normalise": model.plan.normalise,
        "schedule": "cosine" if epochs or steps else "constant",
        **({"batch_size": 1} if optimizer is not None else {}),  # in a loop of one's own a batch is what is given
    }
    rules = LearningRules(**{**usual, **given})
    end = _steps(epochs, examples, steps, rules.batch_size)
    _check_end(rules, end)
    _check_reserved(rules, model)
    numbers = dict(_of_rules(rules, model))
    if optimizer is not None:
        attached = dict(_of_optimizer(optimizer, model))
        _check_agrees(rates, numbers, attached)
        numbers = attached
    return _written(model, rules, {slot: rule for slot, (_, rule) in numbers.items()}, end)


def _steps(epochs: int | None, examples: int | None, steps: int | None, batch: int) -> int:
    """How many steps a schedule has, said either way; 0 if it is not said.

    Raises:
        TypeError, ValueError: a number is none, or they do not go together.
    """
    for name, value in (("epochs", epochs), ("examples", examples), ("steps", steps)):
        if value is not None and not (name == "steps" and value == 0 and type(value) is int):
            check_count(name, value)
    if steps is not None:
        if epochs is not None or examples is not None:
            raise ValueError("steps: expected either them, or epochs and examples")
        return steps
    if (epochs is None) != (examples is None):
        missing, there = ("examples", "epochs") if examples is None else ("epochs", "examples")
        raise ValueError(f"{missing}: expected beside {there}, or steps instead of both")
    if epochs is None or examples is None:
        return 0
    of_epoch = -(-examples // batch)
    if epochs * of_epoch > MOST:
        raise ValueError(f"epochs: expected at most {MOST // of_epoch} of {examples} examples, got {epochs}")
    return epochs * of_epoch


#: A rule with the argument that its rate is of.
_Named = tuple[str, _C.ParameterRule]


def _of_rules(rules: LearningRules, model: SparseModel) -> Iterator[tuple[Slot, _Named]]:
    for slot, _, which, rate in rules.rates(model):
        yield slot, (which, _rule(rate, rules.momentum, rules.weight_decay, rules.normalise))


def _of_optimizer(optimizer: RuleSource, model: SparseModel) -> Iterator[tuple[Slot, _Named]]:
    for slot, group in model.engine.rules.slots.items():
        numbers = optimizer.param_groups[group]
        rule = _rule(numbers["lr"], numbers["momentum"], numbers["weight_decay"], numbers["normalise"])
        yield slot, ("lr", rule)


def _rule(rate: float, momentum: float, weight_decay: float, normalise: bool) -> _C.ParameterRule:
    rule = _C.ParameterRule()
    rule.trains, rule.rate, rule.momentum = True, float(rate), float(momentum)
    rule.weight_decay, rule.normalise = float(weight_decay), bool(normalise)
    return rule


def _check_end(rules: LearningRules, end: int) -> None:
    if not end and (rules.schedule != "constant" or rules.warmup):
        name, value = ("warmup", rules.warmup) if rules.schedule == "constant" else ("schedule", rules.schedule)
        raise ValueError(f"{name}: {value!r} has to know where the steps end; give steps, or epochs and examples")


def _check_reserved(rules: LearningRules, model: SparseModel) -> None:
    for name, wanted, there in (
        ("momentum", rules.momentum > 0, model.plan.momentum),
        ("normalise", rules.normalise, model.plan.normalise),
    ):
        if wanted and not there:
            raise ValueError(f"{name}: the plan reserves no memory for it; convert with {name}=True")


def _check_agrees(given: Mapping[str, Any], wanted: Mapping[Slot, _Named], attached: Mapping[Slot, _Named]) -> None:
    """Raises ValueError if a rule that is given is not that of the optimizer."""
    rate = {"lr", "layer_rates"} & given.keys()
    for slot, (which, rule) in wanted.items():
        if slot not in attached:
            continue  # a parameter that the optimizer leaves alone
        other = attached[slot][1]
        pairs = [(which, rule.rate, other.rate)] if which in given or (which == "lr" and rate) else []
        for name in ("momentum", "weight_decay", "normalise"):
            pairs += [(name, getattr(rule, name), getattr(other, name))] if name in given else []
        for name, asked, found in pairs:
            if asked != found:
                raise ValueError(
                    f"{name}: {asked!r} was given, but an optimizer is attached to the model, which has {found!r}; "
                    "leave it out, or change the optimizer"
                )


def _written(model: SparseModel, rules: LearningRules, numbers: Mapping[Slot, _C.ParameterRule], end: int) -> _C.Recipe:
    engine = model.engine
    by_layer = [_C.LayerRule() for _ in engine.specs]
    for (layer, which), rule in numbers.items():
        setattr(by_layer[layer], ("weight", "bias", "shift")[which], rule)
    recipe = _C.Recipe()
    recipe.rules = by_layer
    sampler = engine.sampler
    kind = next((name for name, cls in NAMES.items() if type(sampler) is cls), None)
    if kind is None:
        raise ValueError(
            f"sampler: {type(sampler).__name__} is Python, which a board may not have; use {', '.join(NAMES)}"
        )
    recipe.sampling, recipe.seed, recipe.dropout_seed = _SAMPLINGS[kind], sampler.seed or 0, engine.seed
    recipe.resample_every, recipe.batch, recipe.steps = engine.resample_every, rules.batch_size, end
    recipe.schedule, recipe.warmup = getattr(_C.Schedule, rules.schedule), rules.warmup
    recipe.label_smoothing, recipe.skip_above = rules.label_smoothing, rules.skip_above
    return recipe
