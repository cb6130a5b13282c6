"""The pictures that a model gets wrong, and is most sure of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from ..data import Source
from .console import table


@dataclass(frozen=True)
class Mistake:
    """A picture that was taken for something else.

    Attributes:
        index: of the picture in its source.
        picture: its name.
        label, predicted: what it is and what it was taken for, by name.
        probability: of that, by the model.
    """

    index: int
    picture: str
    label: str
    predicted: str
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "picture": self.picture,
            "class": self.label,
            "predicted": self.predicted,
            "probability": self.probability,
        }


class Mistakes:
    """Collects them batch by batch.

    Args:
        source: the pictures.
        classes: names of the labels.
    """

    def __init__(self, source: Source, classes: Sequence[str]) -> None:
        self._source, self._classes = source, classes
        self._found: list[tuple[float, int, int, int]] = []

    def add(self, indices: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor) -> None:
        """Takes in a batch: which pictures, int64 [n], what they are, int64 [n], and the output, [n, classes]."""
        probability, predicted = logits.double().softmax(1).max(1)
        wrong = predicted != labels
        parts = (-probability[wrong], indices[wrong], labels[wrong], predicted[wrong])
        self._found += zip(*(part.tolist() for part in parts), strict=True)

    def surest(self, count: int) -> list[Mistake]:
        """At most so many, the surest first."""
        return [
            Mistake(index, self._source.name(index), self._classes[label], self._classes[predicted], -probability)
            for probability, index, label, predicted in sorted(self._found)[:count]
        ]


def mistakes_table(worst: Sequence[Mistake]) -> Table:
    """The list, the surest mistake first."""
    made = table("Most surely wrong", "picture", "is", "taken for", "probability", right=1)
    for one in worst:
        made.add_row(_from_here(one.picture), one.label, one.predicted, f"{one.probability:.1%}")
    return made


def _from_here(name: str) -> str:
    """The path of a picture from the current directory, if it is below that."""
    return name.removeprefix(f"{Path.cwd()}/")
