"""What a network's graph is made of: activations, and weights with what is fused into them."""

from __future__ import annotations

from dataclasses import dataclass

from .._C import Activation


@dataclass(frozen=True)
class Value:
    """An activation, per image. What has no height, [N, C, L], is an image of one row; [N, C] one of one pixel."""

    height: int
    width: int
    channels: int

    @property
    def count(self) -> int:
        """Numbers of one image."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution, down and across.

    Attributes:
        padding: zeros above and to the left; those below and to the right follow from the output's size.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


POINT = Window()
"""One pixel, as linear layers and norms have it."""


@dataclass(frozen=True)
class LayerTensors:
    """By which names a model has the parameters and buffers of a layer; None where there is none.

    Attributes:
        weight: of a convolution or a linear layer.
        bias: of one of these, or the shift of a norm without frozen statistics.
        gamma: the scale of a norm, a scale per channel, or the slopes of a PReLU.
        beta: the shift of a batch norm.
        mean: frozen statistics; likewise ``var``.
        var: see mean.
    """

    weight: str | None = None
    bias: str | None = None
    gamma: str | None = None
    beta: str | None = None
    mean: str | None = None
    var: str | None = None

    @property
    def names(self) -> tuple[str | None, ...]:
        """All six, in the order of native code."""
        return self.weight, self.bias, self.gamma, self.beta, self.mean, self.var


@dataclass(frozen=True)
class Layer:
    """One weight, a convolution or a linear layer with what is fused into it, or a norm on its own.

    Attributes:
        name: of the module that holds the weight, or else of the norm or the scale.
        kind: pointwise, depthwise, conv, transposed or linear; norm if it has no weight.
        norm: the batch norm, if there is one.
        shared: a scale of one number for all channels.
    """

    name: str
    kind: str
    norm: str | None
    activation: Activation
    input: Value
    output: Value
    tensors: LayerTensors
    window: Window = POINT
    eps: float = 0.0
    shared: bool = False

    @property
    def has_weight(self) -> bool:
        """Whether there are channels to select."""
        return self.tensors.weight is not None

    @property
    def is_convolution(self) -> bool:
        """Whether its weights count among those of the convolutions."""
        return self.kind not in ("linear", "norm")
