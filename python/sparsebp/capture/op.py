"""One op of a network's graph."""

from __future__ import annotations

from dataclasses import dataclass

from .._C import Activation, OpKind
from .raw_op import PLAIN, Details, Pool

#: Activations that gated blocks and heads can apply: those without numbers of their own.
PLAIN_CURVES = frozenset(
    {
        *(Activation.relu, Activation.relu6, Activation.hardsigmoid, Activation.hardswish, Activation.sigmoid),
        *(
            Activation.silu,
            Activation.gelu,
            Activation.gelu_tanh,
            Activation.tanh,
            Activation.softplus,
            Activation.mish,
        ),
    }
)


@dataclass(frozen=True)
class Op:
    """One op: ``inputs`` and ``output`` index ``Graph.values``, ``layers`` index ``Graph.layers``."""

    kind: OpKind | None  # None: torch runs it
    inputs: tuple[int, ...]
    output: int
    layers: tuple[int, ...] = ()
    residual: bool = False
    activation: Activation = Activation.identity
    pool: Pool | None = None  # kernel, stride, padding (h, w), count
    drop: float = 0.0
    what: str = ""  # for messages: the class of a torch op's module, or its function
    where: str = ""  # the module, or the one in whose forward the function is called
    weighted: bool = False  # a torch op with weights of its own
    frozen: bool = False  # no gradient passes it
    details: Details = PLAIN
