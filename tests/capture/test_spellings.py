"""Spellings of sums, pools and sizes that run natively: each trains as float64 torch does, at the planned peak."""

from __future__ import annotations

import pytest
import torch
from graph_search import check
from random_graphs import Graph
from random_parts import Part
from sparsebp.capture.graph import build

SIZE = (3, 9, 10)
FIRST = Part("F.relu({a}({0}))", (0,), ("nn.Conv2d(3, 6, 3, padding=1)",))
SECOND = Part("{a}({0})", (1,), ("nn.Conv2d(6, 6, 1)",))

#: With an activation, and the depthwise kernel: one as large as the image makes a pixel.
_BLOCK = "nn.Sequential(nn.Conv2d(6, 8, 1), nn.{0}(), nn.Conv2d(8, 8, {1}, groups=8), nn.{0}(), nn.Conv2d(8, 6, 1))"

#: By what it is called: a line that reads one value of 6x9x10, or two, and the module in it.
LINES: dict[str, tuple[str, ...]] = {
    "sum of a list": ("sum([{0}, {1}, {0}])",),
    "sum of a stack": ("torch.stack([{0}, {1}]).sum(0)",),
    "sum of a stack by name": ("torch.sum(torch.stack(({0}, {1}, {1}), dim=-1), dim=-1)",),
    "mean of a stack": ("torch.stack([{0}, {1}], 1).mean(1)",),
    "stack of one": ("torch.stack([{0}]).sum(dim=0)",),
    "mean of channels": ("{0}.mean(1, keepdim=True)",),
    "mean of channels by name": ("torch.mean({0}, dim=1, keepdim=True)",),
    "mean of channels without their dimension": ("{0}.mean(dim=[1])[:, None]",),
    "largest channel": ("{0}.max(1, keepdim=True)[0]",),
    "largest channel by name": ("torch.max({0}, dim=1, keepdim=True).values",),
    "largest channels": ("{0}.amax(1, keepdim=True)",),
    "largest channels by name": ("torch.amax({0}, dim=(1,), keepdim=True)",),
    "spatial attention": (
        "{0} * torch.sigmoid({a}(torch.cat([{0}.mean(1, True), {0}.max(1, True)[0]], 1)))",
        "nn.Conv2d(2, 1, 7, padding=3)",
    ),
    "chunks the other way round": ("torch.cat({0}.chunk(2, 1)[::-1], dim=1)",),
    "some of the chunks": ("torch.cat({0}.split(2, 1)[1:], 1)",),
    "a block less what it reads": ("{a}({0}) - {0}", _BLOCK.format("ReLU6", "3, 1, 1")),
    "what it reads less a block": ("{0} - {a}({0})", _BLOCK.format("ReLU6", "3, 1, 1")),
    "a block of one pixel added to all": ("{0} + {a}({0})", _BLOCK.format("ReLU", (9, 10))),
    "a gated block less what it reads": ("{a}({0}) - {0}", _BLOCK.format("SiLU", "3, 1, 1")),
    "a gated block of one pixel added to all": ("{0} + {a}({0})", _BLOCK.format("SiLU", (9, 10))),
    "max-pool with gaps": ("{a}({0})", "nn.MaxPool2d(3, 2, 1, dilation=2)"),
    "max-pool with gaps by name": ("F.max_pool2d({0}, (2, 3), stride=1, dilation=(3, 2))",),
    "average with a border and cut-off windows": ("{a}({0})", "nn.AvgPool2d(4, 3, 1, ceil_mode=True)"),
    "average that counts no border": ("F.avg_pool2d({0}, 4, 3, 1, ceil_mode=True, count_include_pad=False)",),
    "each channel enlarged by a filter": ("{a}({0})", "nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=6, bias=False)"),
    "each channel enlarged by two filters": ("F.relu({a}({0}))", "nn.ConvTranspose2d(6, 12, 3, 2, groups=6)"),
    "nearest by a factor": ("F.interpolate({0}, scale_factor=1.7)",),
    "nearest by a factor below 1": ("F.interpolate({0}, scale_factor=0.6)",),
    "nearest by two factors": ("F.interpolate({0}, scale_factor=(2.3, 1.25), mode='nearest')",),
    "linear by a factor that adds no row": ("F.interpolate({0}, scale_factor=(1.1, 1.9), mode='bilinear')",),
    "linear by a factor": ("{a}({0})", "nn.Upsample(scale_factor=1.5, mode='bilinear')"),
    "linear by the ratio of the sides": (
        "F.interpolate({0}, scale_factor=1.75, mode='bilinear', recompute_scale_factor=True)",
    ),
}


def graph(name: str) -> Graph:
    line, *modules = LINES[name]
    inputs = (1, 2) if "{1}" in line else (2,)
    return Graph(SIZE, (FIRST, SECOND, Part(line, inputs, tuple(modules))), "linear")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", LINES)
def test_it_is_native_and_trains_as_in_torch(name: str, seed: int) -> None:
    assert check(graph(name), seed) == "native"


class Both(torch.nn.Module):
    """Makes something that has two readers, one of which native code has no op for."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.conv, self.line = torch.nn.Conv2d(3, 6, 1), line

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.line == "stack":
            stack = torch.stack([x, x.relu()])
            return stack.sum(0) + stack.prod(0)
        largest = x.max(1, keepdim=True)
        return largest[0] + largest[1].to(x.dtype)


@pytest.mark.parametrize("line", ["stack", "max"])
def test_what_something_else_reads_too_is_left_to_torch(line: str) -> None:
    graph = build(Both(line).eval(), SIZE)
    assert line in [op.what for op in graph.ops if op.kind is None] or line in graph.tail.ops
