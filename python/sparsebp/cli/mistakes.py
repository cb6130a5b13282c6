"""The pictures that a model gets wrong and is most sure of: a list, and a contact sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

from ..data import Source
from ..files import check_writable, named_errors
from .console import table

_TILE = 200
"""Pixels of the square that a picture is shown in."""
_TEXT = 15
"""Height of the letters."""
_GAP = 8
_ACROSS = 5
"""Pictures side by side, at most."""
_RIGHT, _WRONG = "#00713c", "#b03a00"


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


def check_sheet_file(file: Path) -> None:
    """Checks, before any long work, that a contact sheet can be written to ``file``.

    Raises:
        ValueError: Pillow does not know the ending of its name.
        OSError: there is no such folder, it cannot be written to, or ``file`` is a folder.
    """
    kinds = sorted(ending for ending, kind in Image.registered_extensions().items() if kind in ("PNG", "JPEG", "WEBP"))
    if file.suffix.lower() not in kinds:
        raise ValueError(f"worst_sheet: expected a file name that ends in {', '.join(kinds)}, got {str(file)!r}")
    check_writable(file, "worst_sheet")


def write_sheet(worst: Sequence[Mistake], source: Source, file: Path) -> None:
    """Draws the pictures side by side, each above what it is and what it was taken for.

    Raises:
        OSError: the file cannot be written.
    """
    across = min(_ACROSS, len(worst))
    down = -(-len(worst) // across)
    width, height = _TILE + _GAP, _TILE + 3 * _TEXT + _GAP
    sheet = Image.new("RGB", (across * width + _GAP, down * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for i, one in enumerate(worst):
        left, top = _GAP + i % across * width, _GAP + i // across * height
        shown = source.picture(one.index)
        shown.thumbnail((_TILE, _TILE))
        sheet.paste(shown, (left, top + _TILE - shown.height))
        below = top + _TILE + _TEXT // 4
        draw.text((left, below), _cut(f"is {one.label}", font), _RIGHT, font)
        share = f" {one.probability:.1%}"
        said = _cut(f"taken for {one.predicted}", font, _TILE - font.getlength(share)) + share
        draw.text((left, below + 1.2 * _TEXT), said, _WRONG, font)
    with named_errors(file):
        sheet.save(file)


def _cut(text: str, font: Any, width: float = _TILE) -> str:
    """As much of a text as there is room for."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
