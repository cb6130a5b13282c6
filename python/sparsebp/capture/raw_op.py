"""One op as it is read, before layers and blocks are put together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from .._C import Activation, OpKind
from .layer import POINT, LayerTensors, Value, Window

Pool = tuple[int, int, int, int, int, int, bool]


@dataclass(frozen=True)
class Details:
    """What only some kinds of ops have; see ``OpSpec`` in csrc/spec/program_spec.h.

    Attributes:
        alpha: of an activation, a sum, or what is multiplied; likewise ``beta``, what is added.
        groups: of a group norm.
        map: of channels, or of all numbers of an image.
        resampling: nearest, linear or linear_corners.
        drop_unit: element, channel or image.
        zeros: rows above and columns to the left that are added.
        dilation: of a max-pooling.
        reduction: of channels: mean, first_largest or all_largest.
        scales: how much larger an image becomes, down and across; 0 as its sides say.
    """

    alpha: float = 1.0
    beta: float = 0.0
    groups: int = 1
    map: tuple[int, ...] = ()
    resampling: str = "nearest"
    drop_unit: str = "element"
    zeros: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    reduction: str = "mean"
    scales: tuple[float, float] = (0.0, 0.0)


PLAIN = Details()
"""Of an op that has none of these."""


@dataclass(frozen=True)
class Weighted:
    """The layer of a raw op; see :class:`.layer.Layer`."""

    name: str
    kind: str
    tensors: LayerTensors
    window: Window = POINT
    norm: str | None = None
    eps: float = 0.0
    shared: bool = False


@dataclass(frozen=True)
class RawOp:
    """One op before fusion. ``inputs`` and ``output`` are fx nodes, of which ``value`` is the output's size."""

    kind: OpKind | None  # None: torch runs it
    inputs: tuple[fx.Node, ...]
    output: fx.Node
    value: Value
    layer: Weighted | None = None
    activation: Activation = Activation.identity
    pool: Pool | None = None
    drop: float = 0.0
    details: Details = PLAIN
    module: str = ""  # that is the op
    what: str = ""  # for messages: a module's class, or a function
    where: str = ""  # the module, or the one in whose forward the function is called
    weighted: bool = False  # a torch op with weights of its own
    frozen: bool = False  # under torch.no_grad: no gradient passes it
