"""How many channels an op that runs block by block expands at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .._C import OpKind
from ..capture.graph import Graph
from .choice import Choice

#: Channels that a fused block expands at a time. Wider blocks are faster and need more scratch.
USUAL_BLOCK = 32
SMALLEST_BLOCK = 16

#: Ops whose backward pass runs channel block by channel block.
_BLOCKED = (OpKind.block, OpKind.gated, OpKind.head)


def blocks_of(graph: Graph, block: int) -> dict[int, int]:
    """The same block for each op that has one."""
    return {i: block for i, op in enumerate(graph.ops) if op.kind in _BLOCKED}


def widest(graph: Graph, choice: Choice) -> Choice:
    """Blocks that hold all channels of their op, where it trains.

    More scratch, and yet it may take fewer bytes: large buffers may lie closer together than small ones.
    """
    blocks = dict(choice.blocks)
    for i in [i for i in blocks if i >= choice.begin]:
        while blocks[i] < max(graph.layers[x].output.channels for x in graph.ops[i].layers):
            blocks[i] *= 2
    return replace(choice, blocks=blocks)


def widened(graph: Graph, choice: Choice, fits: Callable[[Choice], bool]) -> Choice:
    """Doubles channel blocks, op by op, as long as the choice ``fits``."""
    for i, most in widest(graph, choice).blocks.items():
        while choice.blocks[i] < most:
            wider = replace(choice, blocks={**choice.blocks, i: choice.blocks[i] * 2})
            if not fits(wider):
                break
            choice = wider
    return choice
