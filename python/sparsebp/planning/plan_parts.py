"""What a plan is made of: layers that train, and pieces of the arena."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

#: What a step holds beside training memory; it counts only where the budget covers the whole step.
OF_INFERENCE = ("activations", "pictures")
#: The kinds of training memory, in the order of the design's list, and those.
CATEGORIES = ("saved", "masks", "gradients", "weight_gradients", "optimizer", "scratch", "sampler", *OF_INFERENCE)
#: What people read where a category's own name says too little.
CATEGORY_NAMES = {"saved": "saved slices", "weight_gradients": "gradient sums", "optimizer": "optimizer state"}


@dataclass(frozen=True)
class LayerPlan:
    """One trained layer.

    Attributes:
        name: as in the original model's ``named_modules()``.
        kind: ``"pointwise"``, ``"depthwise"``, ``"conv"`` or ``"linear"``.
        channels: input channels of the layer.
        selected: how many of them one step trains.
        weights: weights that one step touches.
        total_weights: weights of the layer.
        bytes: training memory by category. Scratch, activation gradients and the masks of layers of which only
            shifts train stand at an op's first layer. Buffers take turns, so the sum over layers is more than the peak.
    """

    name: str
    kind: str
    channels: int
    selected: int
    weights: int
    total_weights: int
    bytes: dict[str, int] = field(hash=False)

    @property
    def ratio(self) -> float:
        """Share of the input channels that one step trains."""
        return self.selected / self.channels

    def check(self, where: str) -> None:
        """Raises ValueError unless its numbers can be those of a layer; for what comes from a file."""
        if not 0 < self.selected <= self.channels:
            raise ValueError(
                f"{where}.selected: expected 1 to the layer's {self.channels} channels, got {self.selected}"
            )
        if self.bytes.keys() != set(CATEGORIES):
            raise ValueError(f"{where}.bytes: expected {', '.join(CATEGORIES)}, got {', '.join(self.bytes)}")


@dataclass(frozen=True)
class Buffer:
    """One planned piece of the arena, alive from moment ``begin`` to ``end`` of a step, inclusive.

    Of a program of n ops, op i runs forward at moment i and backward at 2n-1-i; -1 is the draw of the
    update sets and 2n the end of the update.

    Attributes:
        name: for people.
        op: of the native program, whom it serves; -1 the program as a whole.
        layer: of the native program; -1 no single one.
        role: ``"saved"``, ``"mask"``, ``"input"`` or ``"levels"`` that a block keeps, ``"output gradient"``, a kind of
            scratch, or what outlives a step.
    """

    name: str
    op: int
    layer: int
    role: str
    category: str
    bytes: int
    offset: int
    begin: int
    end: int

    def check(self, where: str, ops: int, peak: int) -> None:
        """Raises ValueError unless it lies below ``peak``, in a program of so many ops; for what comes from a file."""
        if self.category not in CATEGORIES:
            raise ValueError(f"{where}.category: expected one of {', '.join(CATEGORIES)}, got {self.category!r}")
        if not (0 <= self.offset <= peak and 0 <= self.bytes <= peak - self.offset):
            raise ValueError(f"{where}: expected bytes from 0 to the peak, {peak}, got {self.bytes} at {self.offset}")
        if not -1 <= self.begin <= self.end <= 2 * ops:
            raise ValueError(f"{where}: expected moments from -1 to {2 * ops}, got {self.begin} to {self.end}")
        if not -1 <= self.op < ops:
            raise ValueError(f"{where}.op: expected -1 to {ops - 1}, got {self.op}")


def most_alive(buffers: Sequence[Buffer]) -> dict[str, int]:
    """Most bytes of each category alive at one moment."""
    moments = range(-1, max((b.end for b in buffers), default=0) + 1)
    return {
        c: max(sum(b.bytes for b in buffers if b.category == c and b.begin <= t <= b.end) for t in moments)
        for c in CATEGORIES
    }
