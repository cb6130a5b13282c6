"""What a fine-tuning run is asked to do: everything that has a say in its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..data import Preprocess, parse_augment
from ..planning.plan import Plan
from ..planning.request import check_gradients
from ..samplers import NAMES, Sampler, check_seed
from ..units import parse_bytes
from .schedule import SCHEDULES


@dataclass(frozen=True)
class Settings:
    """Every choice that the result of a run depends on, checked when it is made.

    Attributes:
        budget: bytes of training memory, as an int or ``"256KB"``.
        input_size: height and width of the network's input; one int for a square.
        epochs: passes over the training pictures.
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
        micro_batch: pictures that go through the network at once; what training memory is planned for.
        max_update_ratio: largest share of the convolution weights that a step may touch; None for no limit.
        ratios: explicit shares of the channels by layer name (globs).
        sampler: as in :func:`sparsebp.convert`.
        resample_every: batches from one draw of the channels to the next.
        momentum: of SGD; its state is planned inside the budget. It decays with every update: per micro-batch in place,
            per batch with sums.
        gradients: ``"in_place"`` or ``"sum"``, as in :func:`sparsebp.convert`: whether each micro-batch is applied at
            once with its share of the rate, or a batch as a whole.
        weight_decay: L2 penalty on the weights that a step trains.
        label_smoothing: share of the target spread over all classes.
        dropout: probability of the model's dropout layers during the run; None leaves them as they are.
        train_bias: whether batch-norm shifts and convolution biases train.
        augment: names of :data:`sparsebp.data.augment.AUGMENTATIONS`, or ``"flip,crop"``.
        preprocess: how a picture becomes input; by default what the model's weights want, as far as that can be
            told from them (:func:`sparsebp.networks.pretrained.usual_preprocess`).
        seed: of the order of the pictures, the channels drawn, augmentation and dropout.
    """

    budget: int | str = "256KB"
    input_size: int | tuple[int, int] = 224
    epochs: int = 2
    lr: float | None = None
    bias_lr: float | None = None
    classifier_lr: float | None = None
    normalise: bool = True
    layer_rates: Mapping[str, float] | None = None
    schedule: str = "cosine"
    warmup: float = 0.0
    skip_above: float = 1.0
    batch_size: int = 16
    micro_batch: int = 1
    max_update_ratio: float | None = 0.02
    ratios: Mapping[str, float] | None = None
    sampler: str | Sampler = "random"
    resample_every: int = 1
    momentum: float = 0.0
    gradients: str = "in_place"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout: float | None = None
    train_bias: bool = True
    augment: str | tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        parse_bytes(self.budget)
        if self.ratios is not None and not isinstance(self.ratios, Mapping):
            raise TypeError(f"ratios: expected a mapping of layer names to shares, got {type(self.ratios).__name__}")
        if self.layer_rates is not None and not isinstance(self.layer_rates, Mapping):
            raise TypeError(
                f"layer_rates: expected a mapping of layer names to factors, got {type(self.layer_rates).__name__}"
            )
        for name, factor in (self.layer_rates or {}).items():
            _check_number(f"layer_rates[{name!r}]", factor, 0.0, math.inf)
        if not isinstance(self.augment, (str, tuple, list)):
            raise TypeError(f"augment: expected names, got {type(self.augment).__name__} {self.augment!r}")
        check_gradients(self.gradients)
        check_seed(self.seed)
        for name in ("epochs", "batch_size", "micro_batch", "resample_every"):
            _check_count(name, getattr(self, name))
        for size in (self.input_size,) if isinstance(self.input_size, int) else _pair(self.input_size):
            _check_count("input_size", size)
        if self.micro_batch > self.batch_size:
            raise ValueError(f"micro_batch: expected at most the batch size, {self.batch_size}, got {self.micro_batch}")
        for name, least, most in _NUMBERS:
            _check_number(name, getattr(self, name), least, most)
        for name in ("lr", "bias_lr", "classifier_lr"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), 0.0, math.inf)
        for name in ("normalise", "train_bias"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}: expected True or False, got {type(getattr(self, name)).__name__}")
        if self.skip_above == 0:
            raise ValueError("skip_above: expected more than 0, above which every picture counts as learned")
        if self.dropout is not None:
            _check_number("dropout", self.dropout, 0.0, 0.99)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if isinstance(self.sampler, str) and self.sampler not in NAMES:
            raise ValueError(f"sampler: expected one of {', '.join(NAMES)} or a Sampler, got {self.sampler!r}")
        if self.preprocess is not None and not isinstance(self.preprocess, Preprocess):
            raise TypeError(f"preprocess: expected a sparsebp.data.Preprocess, got {type(self.preprocess).__name__}")
        if self.preprocess is not None and self.preprocess.size != self.size:
            raise ValueError(f"preprocess: expected size {self.size} as in input_size, got {self.preprocess.size}")
        object.__setattr__(self, "augment", parse_augment(self.augment))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return (self.input_size, self.input_size) if isinstance(self.input_size, int) else _pair(self.input_size)

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

    def conversion(self) -> dict[str, Any]:
        """The keywords that :func:`sparsebp.convert` gets, all but the budget."""
        return {
            "input_size": (3, *self.size),
            "batch_size": self.micro_batch,
            "max_update_ratio": self.max_update_ratio,
            "ratios": self.ratios,
            "sampler": self.sampler,
            "resample_every": self.resample_every,
            "momentum": self.momentum > 0,
            "normalise": self.normalise,
            "gradients": self.gradients,
            "seed": self.seed,
            "train_bias": self.train_bias,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON gives back as it was; equal for equal runs."""
        out: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        out |= {
            "budget": parse_bytes(self.budget),
            "input_size": list(self.size),
            "bias_lr": self.rate_of_biases,
            "classifier_lr": self.rate_of_classifier,
            "ratios": dict(self.ratios) if self.ratios else None,
            # A list: their order matters, and JSON objects have none.
            "layer_rates": [list(item) for item in self.layer_rates.items()] if self.layer_rates else None,
            "sampler": self.sampler if isinstance(self.sampler, str) else repr(self.sampler),
            "augment": list(self.augment),
            "preprocess": self.preprocess.to_dict() if self.preprocess else None,
        }
        return out


def of_plan(plan: Plan) -> dict[str, Any]:
    """The settings that a plan was made with, by the names that :class:`Settings` has for them.

    Raises:
        ValueError: it was made for images that are no pictures.
    """
    request = plan.request
    channels, height, width = request.input_size
    if channels != 3:
        raise ValueError(f"plan: expected one for pictures, which have 3 channels, got {channels}")
    drawn = request.sampler
    by_name = drawn.name in NAMES and drawn.channels is None and drawn.seed == request.seed
    return {
        "budget": plan.budget,
        "input_size": (height, width),
        "micro_batch": request.batch_size,
        "max_update_ratio": request.max_update_ratio,
        "ratios": request.ratios or None,
        **({"sampler": drawn.name if by_name else drawn.make()} if drawn.name in NAMES else {}),
        "resample_every": request.resample_every,
        "normalise": request.normalise,
        "gradients": request.gradients,
        "train_bias": request.train_bias,
        "seed": request.seed,
    }


def check_agrees(settings: Settings, plan: Plan) -> None:
    """Raises ValueError, which names the setting, if one contradicts the plan."""
    planned = of_plan(plan)
    asked, expected = settings.to_dict(), replace(settings, **planned).to_dict()
    for name in planned:
        if name != "sampler" and asked[name] != expected[name]:  # which convert compares, however it was given
            raise ValueError(
                f"{name}: {asked[name]} was given, but the plan was made with {expected[name]}; leave it out, or plan "
                "anew"
            )
    if settings.momentum and not plan.momentum:
        raise ValueError(f"momentum: {settings.momentum} was given, but the plan reserves none; plan with momentum")


_FEW = 0.02  # of the weights

_NUMBERS = (
    ("warmup", 0.0, 0.99),
    ("momentum", 0.0, 0.9999),
    ("weight_decay", 0.0, math.inf),
    ("label_smoothing", 0.0, 1.0),
    ("skip_above", 0.0, 1.0),
)


def _pair(size: Any) -> tuple[int, int]:
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"input_size: expected an int or (height, width), got {size!r}")
    return size[0], size[1]


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a whole number, got {type(value).__name__} {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")


def _check_number(name: str, value: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__} {value!r}")
    if not (math.isfinite(value) and least <= value <= most):
        upper = "" if most == math.inf else f" to {most:g}"
        raise ValueError(f"{name}: expected a finite number from {least:g}{upper}, got {value}")
