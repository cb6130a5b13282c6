"""How far a training step is from what the machine could do."""

from __future__ import annotations

from dataclasses import dataclass

from .operation_count import OperationCount
from .rates import Rates


@dataclass(frozen=True)
class LowerBound:
    """A step's work beside the rates measured between its rounds.

    Attributes:
        work: of the step.
        rates: of the machine.
        ms: median milliseconds of the step.
    """

    work: OperationCount
    rates: Rates
    ms: float

    @property
    def gflop(self) -> float:
        """Operations of the step, in units of 10^9."""
        return self.work.operations / 1e9

    @property
    def gflops(self) -> float:
        """GFLOP/s that the step reached."""
        return 1e3 * self.gflop / self.ms

    @property
    def sgemm_ms(self) -> float:
        """Milliseconds that the operations alone would take at the rate of torch's matrix product."""
        return 1e3 * self.gflop / self.rates.sgemm.median

    @property
    def sgemm_share(self) -> float:
        """The sgemm floor over the step's time."""
        return self.sgemm_ms / self.ms

    @property
    def peak_share(self) -> float:
        """What the step reached of the machine's peak."""
        return self.gflops / self.rates.peak.median

    @property
    def copy_ms(self) -> float:
        """Milliseconds that the bytes which must move would take at the rate of ``copy_``."""
        return self.work.moved / self.rates.copy.median / 1e6

    def to_dict(self) -> dict[str, float]:
        """The numbers that are printed."""
        names = ("gflop", "ms", "gflops", "sgemm_ms", "sgemm_share", "peak_share", "copy_ms")
        return {name: getattr(self, name) for name in names}
