"""A plan: which layers train, how many channels of each, and where every byte goes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..capture.foreign import Reach
from ..units import format_bytes
from .choice import Choice

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: The kinds of training memory, in the order of the design's list.
CATEGORIES = ("saved", "masks", "gradients", "weight_gradients", "optimizer", "scratch", "sampler")
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
    bytes: dict[str, int]

    @property
    def ratio(self) -> float:
        """Share of the input channels that one step trains."""
        return self.selected / self.channels


@dataclass(frozen=True)
class Buffer:
    """One planned piece of the arena, alive from moment ``begin`` to ``end`` of a step, inclusive.

    Of a program of n ops, op i runs forward at moment i and backward at 2n-1-i; -1 is the draw of the
    update sets and 2n the end of the update.
    """

    name: str
    category: str
    bytes: int
    offset: int
    begin: int
    end: int


@dataclass(frozen=True)
class Plan:
    """What ``convert`` will do with a budget. It prints as a table; :meth:`to_json` is for machines.

    Attributes:
        layers: trained layers in network order.
        budget: bytes of the arena.
        peak_bytes: highest byte of the arena that a step touches.
        inference_bytes: workspace for activations while the network runs natively on a processor; not training
            memory. A GPU works on whole images and takes more, ``model.workspace.capacity``.
        weights_per_step: convolution weights that one step touches.
        conv_weights: all convolution weights of the model.
        input_size: (C, H, W).
        batch_size: images of one (micro-)batch.
        itemsize: bytes of an element, 4 or 8.
        momentum: whether momentum state is reserved.
        normalise: whether a mean square is kept of every parameter's gradient.
        gradient_sums: whether gradients are summed in the arena and applied by ``optimizer.step()``; else each weight
            row is updated in the backward pass, as soon as its gradient is known.
        buffers: every piece of the arena with offset and lifetime.
        reach: how many layers of the network can train, and what stands behind the others.
    """

    layers: tuple[LayerPlan, ...]
    budget: int
    peak_bytes: int
    inference_bytes: int
    weights_per_step: int
    conv_weights: int
    input_size: tuple[int, int, int]
    batch_size: int
    itemsize: int
    momentum: bool
    normalise: bool
    gradient_sums: bool
    buffers: tuple[Buffer, ...] = field(repr=False)
    choice: Choice = field(repr=False)
    reach: Reach = field(repr=False)

    @property
    def update_ratio(self) -> float:
        """Share of all convolution weights that one step touches."""
        return self.weights_per_step / self.conv_weights

    @property
    def gradients(self) -> str:
        """``"sum"`` or ``"in_place"``, as it was asked for."""
        return "sum" if self.gradient_sums else "in_place"

    def __getitem__(self, name: str) -> LayerPlan:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"{name!r} is not in the plan; it has {', '.join(x.name for x in self.layers)}")

    def __iter__(self) -> Iterator[LayerPlan]:
        return iter(self.layers)

    def peak_by_category(self) -> dict[str, int]:
        """Most bytes of each category alive at one moment. They need not fall together."""
        moments = range(-1, max((b.end for b in self.buffers), default=0) + 1)
        return {
            c: max(sum(b.bytes for b in self.buffers if b.category == c and b.begin <= t <= b.end) for t in moments)
            for c in CATEGORIES
        }

    def feature_bytes(self, bits: int = 32) -> int:
        """Feature memory as papers count it: the selected channels' inputs at ``bits`` an element, and the masks.

        It leaves out gradients, scratch and state, and that no kernel here saves fewer than 32 bits.

        Args:
            bits: of an element, 1 to 64.

        Raises:
            ValueError: another number of bits.
        """
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 64:
            raise ValueError(f"bits: expected a whole number from 1 to 64, got {bits!r}")
        held = self.peak_by_category()
        return held["saved"] // self.itemsize * bits // 8 + held["masks"]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: everything but the buffers."""
        out = asdict(self)
        for key in ("buffers", "choice"):
            del out[key]
        out["gradients"] = self.gradients
        out["update_ratio"] = self.update_ratio
        out["peak_by_category"] = self.peak_by_category()
        return out

    def to_json(self, indent: int | None = 2) -> str:
        """The plan as JSON."""
        return json.dumps(self.to_dict(), indent=indent)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich import box  # 5 MB, which training alone does without
        from rich.table import Table

        table = Table(
            title=f"{len(self.layers)} trained layers, from {self.layers[0].name}",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),  # a MobileNetV2 fits 80 columns
        )
        table.add_column("layer", no_wrap=True)
        table.add_column("kind")
        for column in ("selected", "weights", "saved", "masks", "scratch"):
            table.add_column(column, justify="right")
        for layer in self.layers:
            table.add_row(
                layer.name,
                layer.kind,
                f"{layer.selected}/{layer.channels}",
                f"{layer.weights:,}",
                *(f"{layer.bytes[c]:,}" for c in ("saved", "masks", "scratch")),
            )
        yield table
        if self.reach.trainable < self.reach.layers:
            yield f"layers that can train         {self.reach}"
        share = f"{self.update_ratio:.2%} of {self.conv_weights:,}"
        yield f"convolution weights per step  {self.weights_per_step:,} ({share})"
        yield f"training memory, peak         {self.peak_bytes:,} of {self.budget:,} bytes"
        for kind, count in self.peak_by_category().items():
            if count:
                yield f"  {f'at most {kind}':<28}{count:,}"
        yield f"inference workspace           {self.inference_bytes:,} bytes ({format_bytes(self.inference_bytes)})"
        how = "summed in the arena, applied by step()" if self.gradient_sums else "applied row by row in backward()"
        yield f"batch {self.batch_size}, input {'x'.join(map(str, self.input_size))}"
        yield f"gradients {self.gradients}: {how}"

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        Console(file=out, width=120).print(self)
        return out.getvalue().rstrip()
