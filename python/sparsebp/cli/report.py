"""The tables at the end of a run and of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from ..data import Dataset
from ..data.dataset import listed
from ..finetuning import MemoryReport
from ..units import format_bytes
from .console import err, table

_WORST = 10
"""Classes that an evaluation lists when there are more than twice as many."""


def memory_table(memory: MemoryReport, batch: int) -> Table:
    """Bytes of a training step, and what does not count as such."""
    images = "image by image" if batch == 1 else f"{batch} images at once"
    whole = memory.workspace == 0
    made = table(f"{'Memory of a step' if whole else 'Training memory'}, {images}", "", "bytes", "")
    rows = [
        ("budget", memory.budget),
        ("peak the plan predicted", memory.predicted),
        ("peak the arena measured", memory.measured),
        ("outside the arena, audited", memory.outside),
    ]
    if memory.dense is not None:
        rows.append(("a dense step in PyTorch, audited", memory.dense))
    rows.append(("not in the budget: weights" if whole else "not training memory: weights", memory.weights))
    if not whole:
        rows.append(("not training memory: activations", memory.workspace))
    for name, count in rows:
        made.add_row(name, f"{count:,}", format_bytes(count))
    return made


def accuracy_table(title: str, rows: Sequence[tuple[str, float]]) -> Table:
    """What trains, and how well that does."""
    made = table(title, "what trains", "test accuracy")
    for name, accuracy in rows:
        made.add_row(name, f"{accuracy:.2%}")
    return made


def class_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Accuracy by class, worst first where there are too many to list.

    Args:
        counts: of each class by name its ``"pictures"`` and how many of them are ``"correct"``.
    """
    rows = [(name, of["correct"], of["pictures"]) for name, of in counts.items()]
    tested = [row for row in rows if row[2]]
    few = len(tested) <= 2 * _WORST
    if not few:
        rows = sorted(tested, key=lambda row: row[1] / row[2])[:_WORST]
    elif len(rows) > 2 * _WORST:
        rows = tested
    title = "By class" if few else f"The {_WORST} worst of {len(counts)} classes"
    made = table(title, "class", "pictures", "accuracy")
    for name, correct, pictures in rows:
        made.add_row(name, f"{pictures:,}", f"{correct / pictures:.2%}" if pictures else "untested")
    return made


def without(untested: Sequence[str]) -> str:
    """What stands behind an accuracy that says nothing of some classes."""
    return f" (nothing to test {listed(untested)} with)" if untested else ""


def levels_row(dataset: Dataset) -> list[tuple[str, str]]:
    """A line on black and white of pictures with more than 8 bits, if there are some that go by it."""
    levels, survey = dataset.levels, dataset.survey
    if levels is None or survey is None or not survey.extremes:
        return []
    text = f"black {levels.low:g}, white {levels.high:g} in pictures with more than 8 bits; --levels chooses otherwise"
    return [("levels", text)]


def warn_of_lost(dataset: Dataset) -> None:
    """Says on standard error if there is little to be seen in pictures at the levels that they are read with."""
    levels, survey = dataset.levels, dataset.survey
    lost = survey.lost(levels) if levels is not None and survey is not None else 0
    if levels is not None and survey is not None and lost:
        err.print(
            f"levels: of {len(survey.extremes):,} pictures that were looked at {lost:,} are nearly all black or white "
            f"where {levels.low:g} is black and {levels.high:g} white; --levels=LOW,HIGH chooses otherwise"
        )
