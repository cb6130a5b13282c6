"""What the blocks of a span keep for their backward pass: what takes least.

A block keeps the masks of its activations and the selected channels of each layer's input; or its own input, as
numbers or in 8 bits, from which it makes these again while it runs backward, channel block by channel block.
"""

from __future__ import annotations

from typing import NamedTuple

from .._C import PANEL, Activation, OpKind
from ..capture.graph import Graph
from .lowering import SpecFactory
from .request import Request


class _Bytes(NamedTuple):
    """What one way to keep a block takes: from its forward to its backward pass, and then."""

    kept: int
    then: int


class Keeping:
    """Answers for one network and one request."""

    def __init__(self, graph: Graph, factory: SpecFactory, request: Request) -> None:
        self._graph = graph
        self._factory = factory
        self._request = request

    def smallest(self, begin: int, selected: dict[int, int], blocks: dict[int, int]) -> dict[int, str]:
        """The blocks from op ``begin`` on that keep fewer bytes of their input, and how.

        None of them then needs more bytes while it runs backward, so that no moment of a step needs more.
        """
        found = {}
        for op in range(begin, len(self._graph.ops)):
            if self._graph.ops[op].kind != OpKind.block:
                continue
            ways = self._ways(op, op > begin, selected, blocks[op])
            least = min((way for way in ways if ways[way].then <= ways["masks"].then), key=lambda way: ways[way].kept)
            if least != "masks":
                found[op] = least
        return found

    def _ways(self, op: int, passes: bool, selected: dict[int, int], block: int) -> dict[str, _Bytes]:
        """What each way takes. ``passes``: does the block pass a gradient on."""
        layers, item, batch = self._graph.ops[op].layers, self._factory.itemsize, self._request.batch_size
        *expand, depthwise, project = layers
        shape = self._factory.shape(depthwise)
        channels = self._graph.values[self._graph.ops[op].inputs[0]].channels
        pixels, made = batch * shape.height * shape.width, batch * shape.out_height * shape.out_width
        wide, block = shape.out, min(block, shape.out)

        wide_gradient = passes or any(self._trains(x, selected) for x in expand)
        masked = pixels * sum(self._masks(x) for x in expand) * wide_gradient
        masked += made * self._masks(depthwise) * (wide_gradient or self._trains(depthwise, selected))
        slices = pixels * sum(selected[x] for x in (*expand, depthwise)) + made * selected[project]
        masks = _bits(masked, wide) + slices * item
        again = pixels * min(selected[depthwise], block) * bool(expand) + made * min(selected[project], block)
        again = _bits(masked, block) + (again + 4 * block) * item
        numbers = pixels * channels * item
        ways = {"masks": _Bytes(masks, masks), "input": _Bytes(numbers, numbers + again)}
        if self._request.saved_bits == 8 and expand:
            levels = pixels * channels + 2 * batch * channels * item
            filtered = made * block
            restored = pixels * min(channels, PANEL) * (selected[expand[0]] > 0)
            more = max(filtered, shape.width * channels, restored) - filtered
            ways["input8"] = _Bytes(levels, levels + again + more * item)
        return ways

    def _trains(self, layer: int, selected: dict[int, int]) -> bool:
        return selected[layer] > 0 or self._request.train_bias

    def _masks(self, layer: int) -> bool:
        return self._graph.layers[layer].activation != Activation.identity


def _bits(pixels: int, channels: int) -> int:
    """Bytes of a bit for each channel of so many pixels."""
    return pixels * ((channels + 7) // 8)
