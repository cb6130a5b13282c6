"""By what rules a network learns: rates, their schedule, and what counts as learned."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from .rules import Slot
from .schedule import SCHEDULES
from .sparse_model import SparseModel

#: The largest number of steps, images and the like: native code counts with 64 bits.
MOST = 2**63 - 1


@dataclass(frozen=True)
class LearningRules:
    """Rules for a whole run, checked when they are made. A run's settings have them, and so has a plan file.

    Attributes:
        lr: learning rate of the convolutions, for a whole batch; if None 0.0003, without ``normalise`` 0.0075.
            A plan that trains more than 2 % of the weights in a step takes less by default, see :meth:`rate_at`.
        bias_lr: learning rate of batch-norm shifts and convolution biases; if None five times ``lr``, without
            ``normalise`` eight times.
        classifier_lr: learning rate of the last layer; if None 2.5 times ``lr``, without ``normalise`` the same.
        normalise: whether steps are divided by the running size of their layer's gradient, so that a rate says
            how far a weight moves (:class:`sparsebp.optim.SGD`).
        layer_rates: factors of ``lr`` for convolutions by layer name (globs; the last that fits counts).
        schedule: ``"cosine"``, ``"linear"`` or ``"constant"``, reaching its end with the last step.
        warmup: share of the steps during which the rate rises from zero.
        skip_above: probability of its own class above which a picture is learned already: its backward pass is left
            out. 1 leaves out none. With larger micro-batches, all of their pictures must be learned.
        batch_size: pictures from one draw of the channels to the next. A batch of fewer, at the end of an epoch
            or because pictures are broken, takes its share of the rate, with ``normalise`` the root of it.
        momentum: of SGD; its state is planned inside the budget. It decays with every update: per micro-batch in place,
            per batch with sums.
        weight_decay: L2 penalty on the weights that a step trains.
        label_smoothing: share of the target spread over all classes.
    """

    lr: float | None = None
    bias_lr: float | None = None
    classifier_lr: float | None = None
    normalise: bool = True
    layer_rates: Mapping[str, float] | None = None
    schedule: str = "cosine"
    warmup: float = 0.0
    skip_above: float = 1.0
    batch_size: int = 16
    momentum: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.layer_rates is not None and not isinstance(self.layer_rates, Mapping):
            raise TypeError(
                f"layer_rates: expected a mapping of layer names to factors, got {type(self.layer_rates).__name__}"
            )
        for name, factor in (self.layer_rates or {}).items():
            check_number(f"layer_rates[{name!r}]", factor, 0.0, math.inf)
        check_count("batch_size", self.batch_size)
        for name, least, most in _NUMBERS:
            check_number(name, getattr(self, name), least, most)
        for name in ("lr", "bias_lr", "classifier_lr"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0.0, math.inf)
        if not isinstance(self.normalise, bool):
            raise TypeError(f"normalise: expected True or False, got {type(self.normalise).__name__}")
        if self.skip_above == 0:
            raise ValueError("skip_above: expected more than 0, above which every picture counts as learned")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {self.schedule!r}")

    @property
    def rate(self) -> float:
        """The learning rate of the convolutions, if few of their weights train in a step."""
        return (0.0003 if self.normalise else 0.0075) if self.lr is None else self.lr

    def rate_at(self, update_ratio: float) -> float:
        """The learning rate of the convolutions when a step trains this share of their weights.

        Each step adds noise to every weight that it trains. A default rate falls with the root of their
        share, so that the network as a whole takes no more noise than at 2 %.
        """
        if self.lr is not None or not self.normalise or update_ratio <= _FEW:
            return self.rate
        return self.rate * math.sqrt(_FEW / update_ratio)

    @property
    def rate_of_biases(self) -> float:
        """The learning rate of shifts and biases."""
        return (5 if self.normalise else 8) * self.rate if self.bias_lr is None else self.bias_lr

    @property
    def rate_of_classifier(self) -> float:
        """The last layer's learning rate."""
        return (2.5 if self.normalise else 1) * self.rate if self.classifier_lr is None else self.classifier_lr

    def groups(self, model: SparseModel) -> list[dict[str, Any]]:
        """Parameter groups for :class:`sparsebp.optim.SGD`: weights of convolutions, shifts and biases, last layer.

        Raises:
            ValueError: a glob of ``layer_rates`` fits no convolution that trains.
        """
        found: dict[tuple[str, float], list[nn.Parameter]] = {}
        for _, parameter, which, rate in self.rates(model):
            found.setdefault((which, rate), []).append(parameter)
        how = {"momentum": self.momentum, "normalise": self.normalise}
        return [{"params": members, "lr": rate, **how} for (_, rate), members in found.items()]

    def rates(self, model: SparseModel) -> Iterator[tuple[Slot, nn.Parameter, str, float]]:
        """Every trained parameter with its place, the argument that its rate is of, and the rate.

        Raises:
            ValueError: as :meth:`groups`.
        """
        last = last_layer(model.original)
        rate = self.rate_at(model.plan.update_ratio)
        convolutions = [layer.name for layer in model.plan.layers if layer.name != last]
        factors = _layer_factors(convolutions, self.layer_rates or {})
        for (layer, which), parameter in model.engine.weights.trained_slots():
            name = model.engine.specs[layer].name
            if name == last and which < _SHIFT:
                yield (layer, which), parameter, "classifier_lr", self.rate_of_classifier
            elif parameter.dim() == 1:
                yield (layer, which), parameter, "bias_lr", self.rate_of_biases
            else:
                yield (layer, which), parameter, "lr", rate * factors[name]


def last_layer(model: nn.Module) -> str | None:
    """The name of the last linear layer or, without any, of the last convolution."""
    linear: str | None = None
    convolution: str | None = None
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            linear = name
        elif isinstance(module, nn.Conv2d):
            convolution = name
    return linear or convolution


def check_count(name: str, value: Any, most: int = MOST) -> None:
    """Raises TypeError or ValueError unless it is a whole number from 1 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a whole number, got {type(value).__name__} {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")
    if value > most:
        raise ValueError(f"{name}: expected at most {most}, got {value}")


def check_number(name: str, value: Any, least: float, most: float) -> None:
    """Raises TypeError or ValueError unless it is a finite number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__} {value!r}")
    if not least <= value <= min(most, sys.float_info.max):  # which leaves out nan, too
        upper = "" if most == math.inf else f" to {most:g}"
        raise ValueError(f"{name}: expected a finite number from {least:g}{upper}, got {value}")


_FEW = 0.02  # of the weights
_SHIFT = 2  # in a slot: of the batch norm behind a layer

_NUMBERS = (
    ("warmup", 0.0, 0.99),
    ("momentum", 0.0, 0.9999),
    ("weight_decay", 0.0, math.inf),
    ("label_smoothing", 0.0, 1.0),
    ("skip_above", 0.0, 1.0),
)


def _layer_factors(layers: Sequence[str], rates: Mapping[str, float]) -> dict[str, float]:
    """The factor of each layer's learning rate.

    Raises:
        ValueError: a glob fits none of the layers.
    """
    factors = dict.fromkeys(layers, 1.0)
    for glob, factor in rates.items():
        fitting = [name for name in factors if fnmatchcase(name, glob)]
        if not fitting:
            raise ValueError(f"layer_rates: {glob!r} matches no convolution that trains; they are {', '.join(factors)}")
        factors |= dict.fromkeys(fitting, factor)
    return factors
