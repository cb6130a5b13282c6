"""The tables at the end of a run and of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ..finetuning import Evaluation, MemoryReport
from ..units import format_bytes
from .console import table

_WORST = 10
"""Classes that an evaluation lists when there are more than twice as many."""


def memory_table(memory: MemoryReport, batch: int) -> Table:
    """Bytes of a training step, and what does not count as such."""
    images = "image by image" if batch == 1 else f"{batch} images at once"
    made = table(f"Training memory, {images}", "", "bytes", "")
    rows = [
        ("budget", memory.budget),
        ("peak the plan predicted", memory.predicted),
        ("peak the arena measured", memory.measured),
        ("outside the arena, audited", memory.outside),
    ]
    if memory.dense is not None:
        rows.append(("a dense step in PyTorch, audited", memory.dense))
    rows += [
        ("not training memory: weights", memory.weights),
        ("not training memory: activations", memory.workspace),
    ]
    for name, count in rows:
        made.add_row(name, f"{count:,}", format_bytes(count))
    return made


def accuracy_table(title: str, rows: Sequence[tuple[str, float]]) -> Table:
    """What trains, and how well that does."""
    made = table(title, "what trains", "test accuracy")
    for name, accuracy in rows:
        made.add_row(name, f"{accuracy:.2%}")
    return made


def class_table(found: Evaluation, classes: Sequence[str]) -> Table:
    """Accuracy by class, worst first where there are too many to list."""
    counts = list(zip(classes, found.correct.tolist(), found.pictures.tolist(), strict=True))
    counts = [row for row in counts if row[2]]
    few = len(counts) <= 2 * _WORST
    if not few:
        counts = sorted(counts, key=lambda row: row[1] / row[2])[:_WORST]
    title = "By class" if few else f"The {_WORST} worst of {len(classes)} classes"
    made = table(title, "class", "pictures", "accuracy")
    for name, correct, pictures in counts:
        made.add_row(name, f"{pictures:,}", f"{correct / pictures:.2%}")
    return made
