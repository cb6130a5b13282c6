"""Random networks over all ops that there are, as text that can be run, and the search for one that goes wrong.

python tests/helpers/random_graphs.py --seeds 1000 --start 0
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import random_joins as joins
import random_parts as parts
import torch
import torch.nn.functional as F
from random_parts import Draw, Part, Shape
from torch import nn

#: Parts and how often they are drawn.
_KINDS: dict[Callable[[Draw], Part | None], int] = {
    parts.conv: 6,
    parts.separable: 4,
    parts.padded_conv: 2,
    parts.same_conv: 1,
    parts.conv_transpose: 2,
    parts.activation: 4,
    parts.hardswish_by_hand: 1,
    parts.prelu: 1,
    parts.norm: 2,
    parts.layer_norm: 1,
    parts.nhwc_block: 1,
    joins.max_pool: 2,
    joins.avg_pool: 2,
    joins.adaptive_pool: 1,
    joins.resize: 2,
    joins.add: 3,
    joins.stacked: 1,
    joins.channel_pool: 2,
    joins.affine: 1,
    joins.multiply: 1,
    joins.gate: 2,
    joins.pixel_gate: 1,
    joins.softmax: 1,
    joins.concat: 3,
    joins.slices: 2,
    joins.shuffle: 1,
    joins.space_to_depth: 1,
    joins.pixel_shuffle: 1,
    joins.means: 1,
    joins.broadcast: 1,
    joins.dropout: 1,
}
_HEADS = ("linear", "linear", "two layers", "flatten", "values")
MOST = 4096
"""Numbers of one value."""
NAMES = {"nn": nn, "F": F, "torch": torch}


@dataclass(frozen=True)
class Graph:
    """A network: ``steps[i]`` makes value i + 1; value 0 is the input. What nobody reads is returned or pooled."""

    size: Shape
    steps: tuple[Part, ...]
    head: str  # one of _HEADS

    @property
    def leaves(self) -> list[int]:
        read = {i for part in self.steps for i in part.inputs}
        return [i for i in range(len(self.steps) + 1) if i not in read and i > 0] or [len(self.steps)]

    def source(self) -> str:
        """The module as a class ``Net``."""
        shapes, made, lines = [self.size], [], []
        for i, part in enumerate(self.steps):
            names = {letter: f"self.m{i + 1}{letter}" for letter, _ in zip("abc", part.modules, strict=False)}
            made += [f"        {names[n]} = {text}" for n, text in zip("abc", part.modules, strict=False)]
            values = [f"v{j}" for j in part.inputs]
            lines.append(f"        v{i + 1} = {part.line.format(*values, **names)}")
            shapes.append(_shape_of(part, shapes))
        if self.head == "values":
            lines.append(f"        return {', '.join(f'v{i}' for i in self.leaves)}")
        else:
            pooled = self.head != "flatten"
            dims = 2 if len(self.size) == 2 else (2, 3)
            flat = [f"v{i}.mean({dims})" if pooled else f"v{i}.flatten(1)" for i in self.leaves]
            width = sum(shapes[i][0] if pooled else torch.Size(shapes[i]).numel() for i in self.leaves)
            value = flat[0] if len(flat) == 1 else f"torch.cat([{', '.join(flat)}], 1)"
            if self.head == "two layers":
                made += [f"        self.hidden = nn.Linear({width}, 7)", "        self.norm = nn.BatchNorm1d(7)"]
                width, value = 7, f"F.gelu(self.norm(self.hidden({value})))"
            made.append(f"        self.last = nn.Linear({width}, 5)")
            lines.append(f"        return self.last({value})")
        head = ["class Net(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        return "\n".join([*head, *made, "", "    def forward(self, v0):", *lines])

    def module(self) -> nn.Module:
        """An instance of what ``source`` says."""
        space = dict(NAMES)
        exec(self.source(), space)
        model: nn.Module = space["Net"]()  # type: ignore[operator]
        return model

    def smaller(self) -> list[Graph]:
        """The same with one step less, where its readers can do with what it reads, or with another end."""
        found = [replace(self, head="linear")] if self.head != "linear" else []
        for i in reversed(range(len(self.steps))):
            for stand_in in dict.fromkeys(self.steps[i].inputs):

                def moved(j: int, i: int = i, stand_in: int = stand_in) -> int:
                    return stand_in if j == i + 1 else j - (j > i + 1)

                kept = [replace_inputs(p, map(moved, p.inputs)) for k, p in enumerate(self.steps) if k != i]
                found.append(replace(self, steps=tuple(kept)))
        return [graph for graph in found if graph.steps]


def replace_inputs(part: Part, inputs: Any) -> Part:
    return part._replace(inputs=tuple(inputs))


def _shape_of(part: Part, shapes: Sequence[Shape]) -> Shape:
    """Of what a part makes; whatever torch raises where it makes nothing."""
    modules = [eval(text, dict(NAMES)).eval() for text in part.modules]
    held = SimpleNamespace(**dict(zip("abc", modules, strict=False)))
    names = {letter: f"held.{letter}" for letter in "abc"}
    values = [f"x[{i}]" for i in range(len(part.inputs))]
    x = [torch.zeros(2, *shapes[i]) for i in part.inputs]
    with torch.no_grad():
        made: torch.Tensor = eval(part.line.format(*values, **names), {**NAMES, "held": held, "x": x})
    return tuple(made.shape[1:])


def random_graph(seed: int) -> Graph:
    """The network of a seed."""
    rng = random.Random(seed)
    flat = rng.random() < 0.2
    size = (rng.randint(1, 5), *((rng.randint(8, 40),) if flat else (rng.randint(5, 14), rng.randint(5, 14))))
    shapes, steps = [size], []
    wanted, kinds = rng.randint(2, 9), list(_KINDS)
    while len(steps) < wanted:
        draw = Draw(rng, shapes, flat)
        first = not any("Conv" in text for part in steps for text in part.modules) and len(steps) > 1
        part = parts.conv(draw) if first else rng.choices(kinds, list(_KINDS.values()))[0](draw)
        if part is None:
            continue
        try:
            shape = _shape_of(part, shapes)
        except (RuntimeError, ValueError):  # an image smaller than the window, a pool padded too much, ...
            continue
        if len(shape) == len(size) and 0 < torch.Size(shape).numel() <= MOST:
            steps.append(part)
            shapes.append(shape)
    if not any("Conv" in text for part in steps for text in part.modules):
        return random_graph(seed + 10**9)
    return Graph(size, tuple(steps), rng.choice(_HEADS))


if __name__ == "__main__":
    from graph_search import main

    main()
