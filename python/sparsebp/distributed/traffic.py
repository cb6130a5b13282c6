"""The bytes that ranks exchange, beside those that dense training would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Traffic:
    """What the ranks of a data-parallel run add up, in bytes of one rank's numbers.

    An all-reduce of n bytes sends 2 (r - 1) / r times n from each of r ranks, if it is a ring, which gloo's is: n bytes
    for two ranks. :attr:`sent` counts so; what the network adds, such as TCP's headers, does not count.

    Attributes:
        ranks: how many there are.
        step: bytes of a step's gradients, and of the few numbers that go ahead of them.
        dense: bytes of the gradients if every parameter trained.
        steps: so far, in which something was exchanged.
        exchanged: so far.
    """

    ranks: int
    step: int
    dense: int
    steps: int = 0
    exchanged: int = 0
    _earlier: tuple[int, int] = (0, 0)  # exchanged and sent by however many ranks, before a run was resumed

    @property
    def share(self) -> float:
        """What a step exchanges, as a share of what a dense one would."""
        return self.step / self.dense

    @property
    def sent(self) -> int:
        """Bytes that each rank has sent so far."""
        exchanged, sent = self._earlier
        return sent + round((self.exchanged - exchanged) * 2 * (self.ranks - 1) / self.ranks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        facts = {name: value for name, value in asdict(self).items() if name != "_earlier"}
        return {**facts, "sent": self.sent}

    def go_on(self, earlier: Mapping[str, Any]) -> None:
        """Counts on from what a run had exchanged before it was resumed, with however many ranks."""
        self.steps += int(earlier["steps"])
        self._earlier = int(earlier["exchanged"]), int(earlier["sent"])
        self.exchanged += int(earlier["exchanged"])
