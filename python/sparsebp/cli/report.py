"""The tables at the end of a run and of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from ..data import Dataset, Levels
from ..data.dataset import listed
from ..data.levels import Survey
from ..finetuning import Confusion, History, MemoryReport, Settings
from ..finetuning.kept import best_epoch, worth
from ..units import format_bytes
from .console import err, out, table

_WORST = 10
"""Classes, and mistakes, that an evaluation lists when there are more than twice as many classes."""
_WIDE = 0.05
"""An interval of an accuracy from which on it is said that so few pictures say little."""


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


def accuracy_lines(confusion: Confusion) -> list[str]:
    """What stands below an accuracy: how much it can be relied on, and whether some classes hide behind others."""
    low, high = confusion.interval
    said = [f"95% interval {low:.2%} to {high:.2%}, balanced accuracy {confusion.balanced:.2%}"]
    if high - low > _WIDE:
        said.append(
            f"{confusion.total:,} pictures say little: between two runs a difference of less than "
            f"{100 * (high - low):.0f} points may be chance"
        )
    return said


def confusion_table(confusion: Confusion) -> Table | None:
    """What pictures were taken for: all of it or, of many classes, the most frequent mistakes; None without any."""
    found, count = confusion.mistakes, len(confusion.classes)
    if not found:
        return None
    if count > 2 * _WORST:
        most = found[:_WORST]
        made = table(f"The {len(most)} most frequent mistakes", "class", "taken for", "pictures", "of", right=2)
        pictures = confusion.by_class
        for name, taken, times in most:
            made.add_row(name, taken, f"{times:,}", f"{pictures[name]['pictures']:,}")
        return made
    # In a terminal that is too narrow for the names numbers stand for them.
    named = sum(len(name) + 3 for name in confusion.classes) + max(map(len, confusion.classes)) <= out.width
    rows = confusion.classes if named else tuple(f"{i} {name}" for i, name in enumerate(confusion.classes, 1))
    columns = confusion.classes if named else tuple(map(str, range(1, count + 1)))
    made = table("Taken for", "class", *columns)
    for name, taken_for in zip(rows, confusion.counts.tolist(), strict=True):
        made.add_row(name, *(f"{times:,}" if times else "." for times in taken_for))
    return made


def print_test(confusion: Confusion) -> None:
    """The tables of a test, below a free line each."""
    taken = confusion_table(confusion)
    for made in (class_table(confusion.by_class), *([taken] if taken is not None else [])):
        out.print()
        out.print(made)
    out.print()


def better(history: History, settings: Settings) -> str:
    """The best epoch, where that is better than what a run ended with; by what --keep best would go by."""
    best = best_epoch(history, settings)
    found, ended = worth(best, settings), worth(history.kept or history.epochs[-1], settings)
    what = "balanced accuracy " * (settings.balance != "none")
    return f" (best {what}{found:.2%}, epoch {best.number})" if found > ended else ""


def without(untested: Sequence[str]) -> str:
    """What stands behind an accuracy that says nothing of some classes."""
    return f" (nothing to test {listed(untested)} with)" if untested else ""


def levels_row(dataset: Dataset) -> list[tuple[str, str]]:
    """A line on black and white of pictures with more than 8 bits, if there are some that go by it."""
    levels, survey = dataset.levels, dataset.survey
    return [] if levels is None or survey is None or not survey.extremes else [("levels", levels_line(levels))]


def levels_line(levels: Levels) -> str:
    """What is black and white, in words."""
    return f"black {levels.low:g}, white {levels.high:g} in pictures with more than 8 bits; --levels chooses otherwise"


def warn_of_lost(levels: Levels | None, survey: Survey | None) -> None:
    """Says on standard error if there is little to be seen in the pictures of a survey at these levels."""
    lost = survey.lost(levels) if levels is not None and survey is not None else 0
    if levels is not None and survey is not None and lost:
        err.print(
            f"levels: of {len(survey.extremes):,} pictures that were looked at {lost:,} are nearly all black or white "
            f"where {levels.low:g} is black and {levels.high:g} white; --levels=LOW,HIGH chooses otherwise"
        )
