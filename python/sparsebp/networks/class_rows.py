"""Which row of a classifier is which class, when weights and pictures name or order their classes differently."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .weight_names import shortened


@dataclass(frozen=True)
class ClassRows:
    """A classifier's rows by the names of its classes.

    Attributes:
        rows: of each wanted class, its row in the weights; None for a class that they do not know.
        text: what becomes of the classes, in words.
    """

    rows: tuple[int | None, ...]
    text: str


def match_classes(known: Sequence[str], wanted: Sequence[str]) -> ClassRows | None:
    """Finds each class of ``wanted`` among those that weights know; None if names do not tell classes apart.

    Names that look the same are the same, however their accents are encoded (NFC, NFD).
    """
    for form in (_composed, list):
        given, own = form(known), form(wanted)
        if len(set(given)) == len(given) and len(set(own)) == len(own):
            break
    else:
        return None
    row_of = {name: row for row, name in enumerate(given)}
    rows = tuple(row_of.get(name) for name in own)
    if given == own:
        return ClassRows(rows, f"the same {len(own)} classes")
    wanted_names = set(own)
    kept = [name for name in own if name in row_of]
    new = [name for name in own if name not in row_of]
    dropped = [name for name in given if name not in wanted_names]
    if not kept:
        return ClassRows(rows, f"the weights know none of these classes, but {shortened(given)}")
    if not new and not dropped:
        return ClassRows(rows, f"the same {len(own)} classes in another order, each with its own row")
    parts = [("kept", kept), ("new", new), ("dropped", dropped)]
    return ClassRows(rows, ", ".join(f"{len(names)} {what} ({shortened(names)})" for what, names in parts if names))


def _composed(names: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFC", name) for name in names]
