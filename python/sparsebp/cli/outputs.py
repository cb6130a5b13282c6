"""What a network that is exported is to tell apart, as the command line asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..data import open_dataset
from ..networks.pretrained import read_weights
from .numbers import whole
from .options import MODEL, checked


def parse_classes(text: str) -> int | list[str]:
    """``"10"`` as so many classes, ``"ants,bees"`` as their names.

    Raises:
        ValueError: neither.
    """
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    names = [name.strip() for name in text.split(",")]
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise ValueError(f"expected a number, or names with commas between them such as ants,bees, got {text!r}")
    return names


Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="N|NAMES",
        help="Outputs of the network: how many, or their names, ants,bees. [default: what --data or the weights say]",
        callback=checked(parse_classes),
        rich_help_panel=MODEL,
    ),
]
SpareClasses = Annotated[
    int,
    typer.Option(
        "--spare-classes",
        metavar="N",
        parser=whole(0),
        help="Outputs beside --classes for classes that the file learns later.",
        rich_help_panel=MODEL,
    ),
]


@dataclass(frozen=True)
class Outputs:
    """What a network is to tell apart.

    Attributes:
        classes: their names, or how many there are.
        spare: outputs for classes that are not known yet.
        pictures: how many there are to train on, if that is known.
    """

    classes: int | Sequence[str]
    spare: int
    pictures: int | None

    @property
    def count(self) -> int:
        """Of the outputs."""
        return (self.classes if isinstance(self.classes, int) else len(self.classes)) + self.spare

    @property
    def names(self) -> list[str] | None:
        """Of the classes, if they have any."""
        return None if isinstance(self.classes, int) else list(self.classes)


def outputs_of(classes: int | list[str] | None, spare: int, data: Path | None, weights: Path | None) -> Outputs:
    """What the options say; without ``classes`` what the pictures or, without any, the weights say.

    Raises:
        ValueError: nothing says it, or there are spare outputs beside classes without names.
    """
    if spare and isinstance(classes, int):
        raise ValueError(f"--spare-classes: expected the names of the others with --classes, got {classes}")
    dataset = open_dataset(data) if data is not None else None
    pictures = len(dataset.train) if dataset is not None else None
    if classes is not None:
        return Outputs(classes, spare, pictures)
    if dataset is not None:
        return Outputs(dataset.classes, spare, pictures)
    known = read_weights(weights).metadata.get("classes") if weights is not None else None
    if known is None:
        raise ValueError("--classes is missing: how many outputs has the network, or what are they called?")
    return Outputs(known, spare, None)
