"""What a fine-tuning run is asked to do: everything that has a say in its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..data import Preprocess, parse_augment
from ..planning.choice import SCOPES
from ..planning.plan import Plan
from ..planning.request import MOST_SIZE, PICTURES, check_activation_bits, check_gradients, check_name, check_saved_bits
from ..samplers import NAMES, Sampler
from ..training.learning_rules import LearningRules, check_count, check_number
from ..units import check_seed, parse_bytes
from .balance import BALANCES
from .rest import check_rest

KEEPS = ("last", "best")


@dataclass(frozen=True)
class Settings(LearningRules):
    """Every choice that the result of a run depends on, checked when it is made.

    The rules of learning are those of :class:`sparsebp.training.learning_rules.LearningRules`.

    Attributes:
        budget: bytes of memory, as an int or ``"256KB"``.
        scope: ``"training"`` or ``"step"``, as in :func:`sparsebp.convert`: what the budget covers.
        pictures: ``"arena"`` or ``"elsewhere"``, as in :func:`sparsebp.convert`: where a whole step's images lie.
        saved_bits: 32 or 8, as in :func:`sparsebp.convert`: of the inputs that blocks keep.
        activation_bits: None or 2 to 8, as in :func:`sparsebp.convert`: of the derivatives of curves.
        input_size: height and width of the network's input; one int for a square.
        epochs: passes over the training pictures.
        micro_batch: pictures that go through the network at once; what training memory is planned for.
        max_update_ratio: largest share of the convolution weights that a step may touch; None for no limit.
        ratios: explicit shares of the channels by layer name (globs).
        sampler: as in :func:`sparsebp.convert`.
        resample_every: batches from one draw of the channels to the next.
        gradients: ``"in_place"`` or ``"sum"``, as in :func:`sparsebp.convert`: whether each micro-batch is applied at
            once with its share of the rate, or a batch as a whole.
        dropout: probability of the model's dropout layers during the run; None leaves them as they are.
        train_bias: whether batch-norm shifts and convolution biases train.
        augment: names of :data:`sparsebp.data.augment.AUGMENTATIONS`, or ``"flip,crop"``.
        preprocess: how a picture becomes input; by default what the model's weights want, as far as that can be
            told from them (:func:`sparsebp.networks.pretrained.usual_preprocess`).
        balance: ``"none"``, ``"loss"`` or ``"sampling"``: what is done where classes differ in size. The loss has small
            classes win by a margin, or their pictures come several times an epoch
            (:mod:`sparsebp.finetuning.balance`).
        keep: ``"last"`` or ``"best"``: the epoch whose weights the run ends with; the best is the one with the highest
            accuracy on the test pictures, of equal ones the later, where classes are balanced by their mean accuracy.
        patience: epochs without a better one after which the run ends; None trains all.
        average: the run ends with the mean of the weights after its last so many epochs; with ``keep="best"`` if that
            is better than the best epoch. 1 averages nothing.
        rest: epochs for which a picture is left out that was learned already (``skip_above``) when it was shown last.
        aux: as in :func:`sparsebp.convert`; False leaves out what only training mode adds.
        seed: of the order of the pictures, the channels drawn, augmentation and dropout.
    """

    budget: int | str = "256KB"
    scope: str = "training"
    pictures: str = "arena"
    saved_bits: int = 32
    activation_bits: int | None = None
    input_size: int | tuple[int, int] = 224
    epochs: int = 2
    micro_batch: int = 1
    max_update_ratio: float | None = 0.02
    ratios: Mapping[str, float] | None = None
    sampler: str | Sampler = "random"
    resample_every: int = 1
    gradients: str = "in_place"
    dropout: float | None = None
    train_bias: bool = True
    augment: str | tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    seed: int = 0
    aux: bool = True
    balance: str = "none"
    keep: str = "last"
    patience: int | None = None
    average: int = 1
    rest: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_bytes(self.budget)
        if self.ratios is not None and not isinstance(self.ratios, Mapping):
            raise TypeError(f"ratios: expected a mapping of layer names to shares, got {type(self.ratios).__name__}")
        if not isinstance(self.augment, (str, tuple, list)):
            raise TypeError(f"augment: expected names, got {type(self.augment).__name__} {self.augment!r}")
        check_gradients(self.gradients)
        check_name("scope", self.scope, SCOPES)
        check_name("pictures", self.pictures, PICTURES)
        check_saved_bits(self.saved_bits)
        check_activation_bits(self.activation_bits)
        check_seed(self.seed)
        for name in ("epochs", "micro_batch", "resample_every", "average"):
            check_count(name, getattr(self, name))
        check_rest(self.rest)
        if self.patience is not None:
            check_count("patience", self.patience)
        check_name("balance", self.balance, BALANCES)
        check_name("keep", self.keep, KEEPS)
        for size in (self.input_size,) if isinstance(self.input_size, int) else _pair(self.input_size):
            check_count("input_size", size, MOST_SIZE)
        if self.micro_batch > self.batch_size:
            raise ValueError(f"micro_batch: expected at most the batch size, {self.batch_size}, got {self.micro_batch}")
        if not isinstance(self.train_bias, bool):
            raise TypeError(f"train_bias: expected True or False, got {type(self.train_bias).__name__}")
        if not isinstance(self.aux, bool):
            raise TypeError(f"aux: expected True or False, got {type(self.aux).__name__}")
        if self.dropout is not None:
            check_number("dropout", self.dropout, 0.0, 0.99)
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
            "scope": self.scope,
            "pictures": self.pictures,
            "saved_bits": self.saved_bits,
            "activation_bits": self.activation_bits,
            "aux": self.aux,
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


def of_saved(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that :meth:`Settings.to_dict` returned, as keywords; a sampler that is no name stays text."""
    made = {field.name: saved[field.name] for field in fields(Settings) if field.name in saved}
    made["input_size"] = tuple(made["input_size"])
    made["layer_rates"] = dict(made["layer_rates"] or ()) or None
    made["preprocess"] = Preprocess.from_dict(made["preprocess"])
    return made


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
        "scope": request.scope,
        "pictures": request.pictures,
        "saved_bits": request.saved_bits,
        "activation_bits": request.activation_bits,
        "aux": request.aux,
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


def _pair(size: Any) -> tuple[int, int]:
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"input_size: expected an int or (height, width), got {size!r}")
    return size[0], size[1]
