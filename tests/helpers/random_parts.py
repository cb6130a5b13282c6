"""Parts of random networks, as Python text: each takes values that there are and makes one more."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

Shape = tuple[int, ...]  # without the batch


class Part(NamedTuple):
    """``line`` with ``{0}``, ``{1}`` ... for the values of ``inputs`` and ``{a}``, ``{b}`` ... for the modules."""

    line: str
    inputs: tuple[int, ...]
    modules: tuple[str, ...] = ()


class Draw:
    """A choice of everything that a part may depend on.

    Attributes:
        rng: of all choices.
        shapes: of the values that there are.
        x: the value that the part reads.
        flat: whether the network is of one dimension.
    """

    def __init__(self, rng: random.Random, shapes: Sequence[Shape], flat: bool) -> None:
        self.rng, self.shapes, self.flat = rng, shapes, flat
        self.x = rng.choice([len(shapes) - 1, len(shapes) - 1, rng.randrange(len(shapes))])

    @property
    def channels(self) -> int:
        return self.shapes[self.x][0]

    @property
    def pixels(self) -> Shape:
        return self.shapes[self.x][1:]

    @property
    def d(self) -> str:
        """In the names of classes: ``nn.Conv2d``."""
        return "1d" if self.flat else "2d"

    def each(self, low: int, high: int) -> tuple[int, ...]:
        """A number for each dimension of the pixels, often the same."""
        if self.flat or self.rng.random() < 0.5:
            return (self.rng.randint(low, high),) * len(self.pixels)
        return tuple(self.rng.randint(low, high) for _ in self.pixels)

    def width(self) -> int:
        return self.rng.choice([1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24])

    def divisor(self, number: int) -> int:
        return self.rng.choice([d for d in range(1, number + 1) if number % d == 0])

    def other(self, fits: Callable[[Shape], bool]) -> int | None:
        """Another value, or the same."""
        found = [i for i, shape in enumerate(self.shapes) if fits(shape)]
        return self.rng.choice(found) if found else None

    def flag(self) -> bool:
        return self.rng.random() < 0.5


def _text(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else str(tuple(numbers))


def conv(draw: Draw) -> Part:
    kernel, stride, dilation = draw.each(1, 4), draw.each(1, 2), draw.each(1, 2)
    padding = tuple(draw.rng.randint(0, d * (k - 1)) for k, d in zip(kernel, dilation, strict=True))
    groups = draw.rng.choice([1, 1, draw.divisor(draw.channels), draw.channels])
    out = groups * draw.rng.choice([1, 1, 2, 3]) if groups > 1 else draw.width()
    options = f"groups={groups}, bias={draw.flag()}"
    window = f"{_text(kernel)}, {_text(stride)}, {_text(padding)}, {_text(dilation)}"
    layers = [f"nn.Conv{draw.d}({draw.channels}, {out}, {window}, {options})"]
    line = "{a}({0})"
    if draw.flag():
        layers.append(f"nn.BatchNorm{draw.d}({out})")
        line = "{b}(" + line + ")"
    if draw.flag():
        line = draw.rng.choice(_ACTIVATIONS).replace("{0}", line)
    return Part(line, (draw.x,), tuple(layers))


def separable(draw: Draw) -> Part:
    """An inverted residual, or part of one."""
    c, stride = draw.channels, draw.rng.choice([1, 1, 2])
    hidden = c * draw.rng.choice([1, 2, 3])
    out = c if stride == 1 else draw.width()
    norm = f"nn.BatchNorm{draw.d}"
    activation = draw.rng.choice(["nn.ReLU6()", "nn.ReLU()", "nn.Hardswish()", "nn.SiLU()"])
    kernel = draw.rng.choice([3, 5])
    conv = f"nn.Conv{draw.d}"
    depthwise = f"{conv}({hidden}, {hidden}, {kernel}, {stride}, {kernel // 2}, groups={hidden}, bias=False)"
    layers = [
        *(
            [f"{conv}({c}, {hidden}, 1, bias=False)", f"{norm}({hidden})", activation]
            if draw.flag() or hidden != c
            else []
        ),
        *(depthwise, f"{norm}({hidden})", activation),
        *(f"{conv}({hidden}, {out}, 1, bias=False)", f"{norm}({out})"),
    ]
    line = "{0} + {a}({0})" if stride == 1 and draw.flag() else "{a}({0})"
    return Part(line, (draw.x,), (f"nn.Sequential({', '.join(layers)})",))


def padded_conv(draw: Draw) -> Part:
    """Zeros of different width on each side."""
    kernel = draw.each(1, 3)
    edges = [draw.rng.randint(0, k - 1) for k in kernel[::-1] for _ in range(2)]
    conv = f"nn.Conv{draw.d}({draw.channels}, {draw.width()}, {_text(kernel)}, {_text(draw.each(1, 2))})"
    return Part("{a}(F.pad({0}, " + str(tuple(edges)) + "))", (draw.x,), (conv,))


def same_conv(draw: Draw) -> Part:
    kernel, dilation = _text(draw.each(1, 4)), _text(draw.each(1, 2))
    groups = draw.rng.choice([1, draw.channels])
    options = f"padding='same', dilation={dilation}, groups={groups}"
    return Part("{a}({0})", (draw.x,), (f"nn.Conv{draw.d}({draw.channels}, {groups * 2}, {kernel}, {options})",))


def conv_transpose(draw: Draw) -> Part:
    kernel, stride = draw.each(1, 4), draw.each(1, 3)
    padding = tuple(draw.rng.randint(0, k // 2) for k in kernel)
    more = tuple(draw.rng.randint(0, s - 1) for s in stride)
    out, groups = draw.rng.choice([(draw.width(), 1), (draw.width(), 1), (draw.channels * 2, draw.channels)])
    window = f"{_text(kernel)}, {_text(stride)}, {_text(padding)}, {_text(more)}, {groups}, bias={draw.flag()}"
    norm = (f"nn.BatchNorm{draw.d}({out})",) if draw.flag() else ()
    line = "{b}({a}({0}))" if norm else "{a}({0})"
    return Part(line, (draw.x,), (f"nn.ConvTranspose{draw.d}({draw.channels}, {out}, {window})", *norm))


_ACTIVATIONS = (
    *("F.relu({0})", "F.relu6({0})", "F.leaky_relu({0}, 0.1)", "F.hardtanh({0}, -0.7, 1.5)", "{0}.clamp(-1, 2)"),
    *("F.hardsigmoid({0})", "F.hardswish({0})", "torch.sigmoid({0})", "F.silu({0})", "F.gelu({0})", "torch.tanh({0})"),
    *('F.gelu({0}, approximate="tanh")', "F.elu({0})", "F.elu({0}, 0.7)", "F.softplus({0})", "F.mish({0})"),
    *("F.relu6({0} + 3) / 6", "{0}.clamp(min=0)", "{0}.relu()", "{0}.sigmoid()", "{0}.tanh()", "torch.relu({0})"),
)


def activation(draw: Draw) -> Part:
    return Part(draw.rng.choice(_ACTIVATIONS), (draw.x,))


def hardswish_by_hand(draw: Draw) -> Part:
    return Part("{0} * F.relu6({0} + 3) / 6", (draw.x,))


def prelu(draw: Draw) -> Part:
    return Part("{a}({0})", (draw.x,), (f"nn.PReLU({draw.rng.choice([1, draw.channels])})",))


def norm(draw: Draw) -> Part:
    """A norm of any kind, apart from convolutions."""
    c = draw.channels
    kinds = [f"nn.BatchNorm{draw.d}({c})", f"nn.BatchNorm{draw.d}({c}, affine=False)", f"nn.GroupNorm(1, {c})"]
    kinds.append(f"nn.GroupNorm({draw.divisor(c)}, {c}, affine={draw.flag()})")
    return Part("{a}({0})", (draw.x,), (draw.rng.choice(kinds),))


def layer_norm(draw: Draw) -> Part | None:
    """Over the channels, of pixels in NHWC; of one channel nothing is left."""
    if draw.channels == 1:
        return None
    back, there = ("(0, 2, 1)", "(0, 2, 1)") if draw.flat else ("(0, 3, 1, 2)", "(0, 2, 3, 1)")
    line = "{a}({0}.permute" + there + ").permute" + back
    return Part(line, (draw.x,), (f"nn.LayerNorm({draw.channels})",))


def nhwc_block(draw: Draw) -> Part | None:
    """ConvNeXt's: LayerNorm, two linear layers, back, and added."""
    c = draw.channels
    if c == 1:
        return None
    back, there = ("(0, 2, 1)", "(0, 2, 1)") if draw.flat else ("(0, 3, 1, 2)", "(0, 2, 3, 1)")
    line = "{0} + {c}(F.gelu({b}({a}({0}.permute" + there + ")))).permute" + back
    return Part(line, (draw.x,), (f"nn.LayerNorm({c})", f"nn.Linear({c}, {2 * c})", f"nn.Linear({2 * c}, {c})"))
