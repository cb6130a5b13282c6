"""Inference, and the distance of training steps from the floor, on paper."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from sparsebp.benchmark.candidates import StepRequest
from sparsebp.benchmark.inference import InferenceCase
from sparsebp.benchmark.lower_bound import LowerBound
from sparsebp.benchmark.steps import StepCase
from sparsebp.cli.bench import compact, medians_of, timed, timed_columns
from sparsebp.cli.console import table


def inference_table(found: Sequence[Sequence[InferenceCase]]) -> Table:
    """One row a contender; times, for each number of threads, and bytes also as multiples of sparsebp's.

    Args:
        found: for each request the cases, each with another number of threads.
    """
    rounds = [case.rounds for cases in found for case in cases]
    threads = [case.threads for case in found[0]]
    made = table(
        f"Inference, {medians_of(rounds)}",
        *("input, batch", "", *timed_columns(threads), "workspace\nbytes", "tensor\nbytes", "times"),
        right=2 * len(threads) + 3,
    )
    for cases in found:
        request, held = cases[0].request, [r.workspace + r.tensors for r in cases[0].results]
        for i, r in enumerate(cases[0].results):
            times = [text for case in cases for text in timed(case.results[i].time, case.ratio(case.results[i]))]
            workspace = f"{r.workspace:,}" if r.workspace else ""
            cells = (*times, workspace, f"{r.tensors:,}", f"{held[i] / held[0]:.1f}")
            made.add_row(_case_name(request) if i == 0 else "", r.contender, *cells)
    made.columns[1].no_wrap = True
    return compact(made)


def floor_table(cases: Sequence[StepCase]) -> Table:
    """One row a case whose machine's rates were measured; shares are of what those rates would allow."""
    floors = [(case, case.floor) for case in cases if case.floor is not None]
    made = table(
        "sparsebp's steps and what the machine did between their rounds",
        *("input, batch", "threads", "GFLOP", "ms", "GFLOP/s"),
        *("sgemm 1024^3\nGFLOP/s", "floor\nms", "share", "FMA peak\nGFLOP/s", "share"),
        *("MB", "copy\nGB/s", "floor\nms"),
    )
    for case, floor in floors:
        made.add_row(*_floor_row(case, floor))
    return compact(made)


def _floor_row(case: StepCase, floor: LowerBound) -> list[str]:
    rates = floor.rates
    return [
        _case_name(case.request),
        str(case.threads),
        f"{floor.gflop:.3f}",
        f"{floor.ms:.1f}",
        f"{floor.gflops:.1f}",
        rates.sgemm.text(1),
        f"{floor.sgemm_ms:.1f}",
        f"{floor.sgemm_share:.0%}",
        rates.peak.text(1),
        f"{floor.peak_share:.0%}",
        f"{floor.work.moved / 1e6:.1f}",
        rates.copy.text(1),
        f"{floor.copy_ms:.1f}",
    ]


def _case_name(request: StepRequest) -> str:
    return f"{request.height}x{request.width}, {request.batch}"
