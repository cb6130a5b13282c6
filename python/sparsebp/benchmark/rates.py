"""What this machine can do at best: multiply-adds of torch's matrix product, of bare registers, and copied bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .. import _C
from .timing import Quartiles, milliseconds

SGEMM_SIDE = 1024
"""Large enough that torch's library is at its usual best, small enough for a few milliseconds."""
COPIED_BYTES = 128 << 20
"""Several times the largest caches."""


@dataclass(frozen=True)
class Sample:
    """One measurement of each rate; operations and bytes per second, in units of 10^9.

    Attributes:
        sgemm: torch's product of two square matrices.
        fma: multiply-adds in registers, two operations each.
        copy: bytes read and bytes written.
    """

    sgemm: float
    fma: float
    copy: float


@dataclass(frozen=True)
class Rates:
    """What the machine did while something else was timed.

    Attributes:
        sgemm: GFLOP/s of torch's product of two 1024 x 1024 matrices.
        peak: GFLOP/s of multiply-adds that wait for nothing, which no arithmetic exceeds.
        copy: GB/s of torch's ``copy_``, bytes read and bytes written.
    """

    sgemm: Quartiles
    peak: Quartiles
    copy: Quartiles

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Rates:
        """Medians and quartiles of at least one sample."""
        return cls(*(Quartiles.of([getattr(s, rate) for s in samples]) for rate in ("sgemm", "fma", "copy")))


class Yardsticks:
    """Measures the rates again and again, with the threads that torch has at the time."""

    def __init__(self) -> None:
        self._a, self._b, self._product = (torch.randn(SGEMM_SIDE, SGEMM_SIDE) for _ in range(3))
        self._source = torch.ones(COPIED_BYTES // 4)
        self._target = torch.zeros_like(self._source)  # written once, so that its memory is really there

    def sample(self) -> Sample:
        """Takes about a twentieth of a second on two slow cores."""
        copy = 2 * COPIED_BYTES / milliseconds(self._target.copy_, self._source) / 1e6
        product = milliseconds(lambda: torch.mm(self._a, self._b, out=self._product))
        return Sample(2 * SGEMM_SIDE**3 / product / 1e6, _C.fma_peak(), copy)
