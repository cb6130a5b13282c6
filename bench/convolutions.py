"""The distinct convolutions of a network, read from ``shapes/``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

FILE = Path(__file__).parent / "shapes" / "mobilenet_v2.txt"
FILE_SIZE = 224
"""The image size at which the heights and widths of ``FILE`` hold."""
IMAGE_CHANNELS = 3
"""A layer with so few input channels reads the image, which needs no gradient."""


@dataclass(frozen=True)
class Shape:
    """A convolution and its input; ``name`` is the first of ``count`` layers with this shape."""

    name: str
    kind: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    groups: int
    height: int
    width: int
    count: int = 1

    @property
    def input_grad(self) -> bool:
        """Whether anything below this layer can want a gradient."""
        return self.inputs > IMAGE_CHANNELS

    @property
    def channel_dim(self) -> int:
        """Dimension of the weight along which its input channels lie."""
        return 0 if self.groups > 1 else 1

    def __str__(self) -> str:
        """``96 > 576, 14x14``, of a depthwise one ``96, 14x14``, with kernel and stride where they are not 1."""
        text = str(self.inputs) if self.kind == "depthwise" else f"{self.inputs} > {self.outputs}"
        text += f", {self.height}x{self.width}"
        text += f", {self.kernel}x{self.kernel}" if self.kernel > 1 else ""
        return text + (f"/{self.stride}" if self.stride > 1 else "")


def read_shapes(size: int, pattern: str = "*") -> list[Shape]:
    """The distinct layers whose name matches the glob ``pattern``, for images of ``size`` pixels.

    Raises:
        ValueError: no layer matches.
    """
    distinct: dict[Shape, Shape] = {}
    for line in FILE.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, kind, *numbers = line.split()
        if not fnmatchcase(name, pattern):
            continue
        shape = Shape(name, kind, *map(int, numbers))
        # A stride of 2 halves and rounds up, so what a layer reads is the image over a power of two.
        height, width = (-(-size * side // FILE_SIZE) for side in (shape.height, shape.width))
        shape = replace(shape, height=height, width=width)
        key = replace(shape, name="")
        known = distinct.get(key, replace(shape, count=0))
        distinct[key] = replace(known, count=known.count + 1)
    if not distinct:
        raise ValueError(f"no layer in {FILE.name} matches {pattern!r}")
    return list(distinct.values())
