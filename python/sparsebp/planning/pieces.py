"""How a forward pass runs where a plan decides that: rows and channels at once, what runs depth first, what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .fingerprint import Fingerprint
from .plain_data import check_keys, read

#: What a block may keep of its forward pass instead of masks and selected channels.
KEEPS = ("input", "input8")
_WIDEST = 2**20  # rows or channels; no network has more


@dataclass(frozen=True)
class Pieces:
    """In the numbers of a graph's ops. What it does not name, native code chooses for speed.

    Attributes:
        rows: output rows that an op makes at once.
        columns: channels that a block or a head expands at once, multiples of a panel.
        streams: ops from the first to before the second, that run depth first.
        keeps: blocks that keep their input, as ``"input"`` or in 8 bits as ``"input8"``, and make their masks and
            slices again while they run backward.
    """

    rows: dict[int, int] = field(default_factory=dict, hash=False)
    columns: dict[int, int] = field(default_factory=dict, hash=False)
    streams: tuple[tuple[int, int], ...] = ()
    keeps: dict[int, str] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> tuple[object, ...]:
        """Tells two of them apart."""
        return tuple(self.rows.items()), tuple(self.columns.items()), self.streams, tuple(self.keeps.items())

    def named(self, network: Fingerprint) -> dict[str, Any]:
        """The same as plain data: an op by the name of its first layer, a stream by its first and its last op's."""

        def name(op: int) -> str:
            return network.layers[network.ops[op].layers[0]].name

        return {
            "rows": {name(op): count for op, count in self.rows.items()},
            "columns": {name(op): count for op, count in self.columns.items()},
            "keeps": {name(op): what for op, what in self.keeps.items()},
            "streams": [[name(first), name(last - 1)] for first, last in self.streams],
        }

    @classmethod
    def by_names(cls, data: Any, network: Fingerprint) -> Pieces:
        """The inverse of :meth:`named`.

        Raises:
            ValueError: it is something else, or of another network.
        """
        check_keys(data, ["rows", "columns", "keeps", "streams"], "choice.pieces")
        ops = {network.layers[op.layers[0]].name: i for i, op in enumerate(network.ops) if op.layers}

        def counts(name: str) -> dict[int, int]:
            given = read(dict[str, int], data[name], f"choice.pieces.{name}")
            _check_names(given, ops)
            for layer, count in given.items():
                if not 1 <= count <= _WIDEST:
                    raise ValueError(f"choice.pieces.{name}: {layer}: expected 1 to {_WIDEST}, got {count}")
            return {ops[layer]: count for layer, count in given.items()}

        keeps = read(dict[str, str], data["keeps"], "choice.pieces.keeps")
        _check_names(keeps, ops)
        for layer, what in keeps.items():
            if what not in KEEPS:
                raise ValueError(f"choice.pieces.keeps: {layer}: expected {' or '.join(KEEPS)}, got {what!r}")
        streams = []
        for ends in read(tuple[tuple[str, ...], ...], data["streams"], "choice.pieces.streams"):
            if len(ends) != 2:
                raise ValueError(f"choice.pieces.streams: expected a first and a last layer, got {len(ends)}")
            _check_names(dict.fromkeys(ends, 1), ops)
            streams.append((ops[ends[0]], ops[ends[1]] + 1))
        return cls(
            counts("rows"), counts("columns"), tuple(streams), {ops[layer]: what for layer, what in keeps.items()}
        )


def _check_names(given: Mapping[str, object], ops: Mapping[str, int]) -> None:
    strangers = sorted(given.keys() - ops.keys())
    if strangers:
        raise ValueError(f"choice: made for another network; no op of this one begins with {strangers[0]!r}")
