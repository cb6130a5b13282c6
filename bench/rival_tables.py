"""What bench/rivals.py found, on paper: a table for each size and batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rival_lineup import SESSION
from rival_workers import Outcome
from sparsebp.benchmark.candidates import StepRequest
from sparsebp.cli.bench import compact, medians_of
from sparsebp.cli.console import table
from sparsebp.units import format_bytes

MEGABYTE = 1024
"""In the kilobytes that the system counts in."""


@dataclass(frozen=True)
class Case:
    """One size, batch and number of threads.

    Attributes:
        request: what was asked for.
        threads: that everybody had.
        rounds: behind the medians.
        in_a_row: steps of a turn; times are those of one.
        outcomes: of those that did not fail.
        failures: who failed, and why.
    """

    request: StepRequest
    threads: int
    rounds: int
    in_a_row: int
    outcomes: tuple[Outcome, ...]
    failures: dict[str, str]

    @property
    def title(self) -> str:
        """``128x128, batch 1, 1 thread``."""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.request.height}x{self.request.width}, batch {self.request.batch}, {threads}"

    def ratios(self, outcome: Outcome) -> dict[str, float] | None:
        """How many times sparsebp's session its wall time, CPU time and memory are; None if that failed."""
        ours = next((o for o in self.outcomes if o.rival.name == SESSION), None)
        if ours is None:
            return None
        wall, cpu = outcome.wall.median / ours.wall.median, outcome.cpu.median / ours.cpu.median
        return {"wall": wall, "cpu": cpu, "peak": outcome.peak / ours.peak}

    def to_dict(self) -> dict[str, Any]:
        """Plain data: milliseconds, kilobytes, multiples of sparsebp's session."""
        found = [
            {
                "contender": outcome.rival.name,
                "trains": outcome.rival.trains,
                "wall": vars(outcome.wall),
                "cpu": vars(outcome.cpu),
                "peak": outcome.peak,
                "ratios": self.ratios(outcome),
            }
            for outcome in self.outcomes
        ]
        request = {"size": self.request.height, "batch": self.request.batch, "budget": self.request.budget}
        how = {"threads": self.threads, "rounds": self.rounds, "in_a_row": self.in_a_row}
        return request | how | {"results": found, "failures": self.failures}


def rival_table(case: Case) -> Table:
    """One row a contender."""
    budget = format_bytes(case.request.budget)
    made = table(
        f"A step of MobileNetV2, {case.title}, {medians_of([case.rounds])}, {case.in_a_row} in a row; "
        f"sparsebp: {budget}",
        *("", "trains", "wall\nms", "times", "CPU\nms", "times", "peak RSS\nMB", "times"),
        right=6,
    )
    for outcome in case.outcomes:
        ratios = case.ratios(outcome)
        wall, cpu, peak = ("", "", "") if ratios is None else (f"{ratio:.2f}" for ratio in ratios.values())
        times = (outcome.wall.text(1), wall, outcome.cpu.text(1), cpu)
        made.add_row(outcome.rival.name, outcome.rival.trains, *times, f"{outcome.peak / MEGABYTE:.0f}", peak)
    return compact(made)
