"""How a forward pass runs where the budget covers the whole step: the smallest pieces, then larger ones while they fit.

A frozen prefix is cut into streams, whose ops run depth first and hold a few rows of what they read; at a cut a value
exists whole. Where the cuts are is decided by estimates of what each stream holds, before anything is laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

from .._C import PANEL, OpKind
from ..capture.graph import Graph
from ..errors import UnsupportedModel
from .lowering import SpecFactory
from .pieces import Pieces

#: Channels that are expanded at once at most. Products of more are no faster.
MOST_COLUMNS = 128
#: Channels that are expanded at once at least, in a stream; half a panel, for which there are products too.
FEWEST_COLUMNS = PANEL // 2
#: Rows that an op of a stream makes at once at most: with so many, a tenth of an expansion is computed twice.
MOST_ROWS = 16

_STREAMED = (OpKind.conv, OpKind.depthwise, OpKind.block)


def check_native(graph: Graph) -> None:
    """Raises UnsupportedModel if torch runs more of a network than softmax or its logarithm, a part of the loss."""
    rule = "scope: a budget covers the whole step only where all of the network runs natively; "
    if graph.native_begin > 0:
        foreign = dict.fromkeys(op.what for op in graph.ops if op.kind is None)
        raise UnsupportedModel(f"{rule}only torch runs {', '.join(foreign)}")
    if graph.tail is not None and graph.tail.ops and graph.tail.over_classes is None:
        raise UnsupportedModel(f"{rule}after the last layer only torch runs {graph.tail.listed}")


class WholeStep:
    """Answers for one network.

    Args:
        graph: of it.
        factory: of its native programs.
        batch: images of a micro-batch.
        pictures: whether the arena holds the images as bytes.
    """

    def __init__(self, graph: Graph, factory: SpecFactory, batch: int, pictures: bool) -> None:
        self._graph = graph
        self._factory = factory
        self._batch = batch
        self._pictures = pictures
        self._first = graph.native_begin
        self._known: dict[int, Pieces] = {}

    def smallest(self, begin: int) -> Pieces:
        """The pieces of a span from op ``begin`` on that hold the fewest bytes."""
        if begin not in self._known:
            streams = self._streams(begin)
            streamed = {op for first, last in streams for op in range(first, last)}
            ops = range(self._first, len(self._graph.ops))
            rows = {i: 1 for i in ops if i in streamed or self._graph.ops[i].kind == OpKind.block}
            wide = (i for i in ops if self._graph.ops[i].kind in (OpKind.block, OpKind.head))
            columns = {i: FEWEST_COLUMNS if i in streamed else PANEL for i in wide}
            self._known[begin] = Pieces(rows, columns, streams)
        return self._known[begin]

    def widened(self, pieces: Pieces, fits: Callable[[Pieces], bool]) -> Pieces:
        """Doubles rows, then channels, op by op in turn, as long as it ``fits``: then less is computed twice."""
        most_rows, most_columns = self._most_rows(pieces), self._most_columns(pieces)
        rows = _doubled(pieces.rows, most_rows, lambda more: fits(replace(pieces, rows=more)))
        pieces = replace(pieces, rows=rows)
        columns = _doubled(pieces.columns, most_columns, lambda more: fits(replace(pieces, columns=more)))
        return replace(pieces, columns=columns)

    def _most_rows(self, pieces: Pieces) -> dict[int, int]:
        streamed = {op for first, last in pieces.streams for op in range(first, last)}
        heights = {op: self._graph.values[self._graph.ops[op].output].height for op in pieces.rows}
        return {op: min(height, MOST_ROWS) if op in streamed else height for op, height in heights.items()}

    def _most_columns(self, pieces: Pieces) -> dict[int, int]:
        layers = self._graph.layers
        widest = {op: max(layers[x].output.channels for x in self._graph.ops[op].layers) for op in pieces.columns}
        return {op: min(MOST_COLUMNS, -(-channels // PANEL) * PANEL) for op, channels in widest.items()}

    # -- cuts ------------------------------------------------------------------------------------

    def _streams(self, begin: int) -> tuple[tuple[int, int], ...]:
        """The streams of the prefix before op ``begin``."""
        streams = []
        at = begin
        while at > self._first:
            start = self._cuts[at][2]
            if self._graph.ops[start].kind in _STREAMED:
                streams.append((start, at))
            at = start
        return tuple(reversed(streams))

    @cached_property
    def _cuts(self) -> dict[int, tuple[int, int, int]]:
        """By op: the most bytes that the ops before it need, in how many pieces, and where the last of these begins."""
        cuts = {self._first: (0, 0, self._first)}
        for end in range(self._first + 1, len(self._graph.ops) + 1):
            options = ((start, self._bytes(start, end)) for start in self._starts(end))
            cuts[end] = min((max(cuts[start][0], held), cuts[start][1] + 1, start) for start, held in options)
        return cuts

    def _starts(self, end: int) -> Iterator[int]:
        """Ops with which a stream that ends before op ``end`` can begin, or the one op that it is alone."""
        ops = self._graph.ops
        yield end - 1
        for start in range(end - 2, self._first - 1, -1):
            between = ops[start].output
            readers = [i for i, op in enumerate(ops) for v in op.inputs if v == between]
            kinds = ops[start].kind, ops[start + 1].kind
            if any(kind not in _STREAMED for kind in kinds) or readers != [start + 1] or between == self._graph.output:
                return
            yield start

    def _bytes(self, start: int, end: int) -> int:
        """What ops ``start`` to before ``end`` hold as one stream, about."""
        ops, item = self._graph.ops, self._factory.itemsize
        alive = self._graph.crossing(start) | {ops[end - 1].output}
        streamed = ops[start].kind in _STREAMED
        whole = sum(self._batch * self._numbers(v) for v in alive) * item
        if start == self._first:
            source = self._numbers(ops[start].inputs[0]) * self._batch
            whole += source * self._pictures - source * item * streamed
        if not streamed:
            return whole
        rows = sum(self._window(i) for i in range(start + (start > self._first), end))
        return whole + (rows + max(self._scratch(i) for i in range(start, end))) * item

    def _numbers(self, value: int) -> int:
        v = self._graph.values[value]
        return v.height * v.width * v.channels

    def _reach(self, op: int) -> tuple[int, int]:
        """The input rows that one output row of an op reaches, and pixels of a row."""
        layers = self._graph.ops[op].layers
        shape = self._factory.shape(layers[-2] if self._graph.ops[op].kind == OpKind.block else layers[0])
        return min(shape.height, (shape.kernel_h - 1) * shape.dilation_h + 1), shape.width

    def _window(self, op: int) -> int:
        """Numbers of its input that an op holds."""
        rows, width = self._reach(op)
        return rows * width * self._graph.values[self._graph.ops[op].inputs[0]].channels

    def _scratch(self, op: int) -> int:
        """Numbers that an op needs while it makes a row."""
        rows, width = self._reach(op)
        return (rows + 1) * width * FEWEST_COLUMNS if self._graph.ops[op].kind == OpKind.block else 0


def _doubled(counts: dict[int, int], most: dict[int, int], fits: Callable[[dict[int, int]], bool]) -> dict[int, int]:
    """Each count doubled in turn, up to its most, as long as it ``fits``."""
    growing = set(counts)
    while growing:
        for op in sorted(growing, reverse=True):
            more = {**counts, op: min(2 * counts[op], most[op])}
            if more[op] == counts[op] or not fits(more):
                growing.remove(op)
            else:
                counts = more
    return counts
