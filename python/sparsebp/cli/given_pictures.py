"""The pictures that ``sparsebp predict`` is given: files, folders, and a list on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..data.folders import pictures_below
from ..data.sources import Files, printable

STDIN = "-"
"""Given as a picture: the paths stand on standard input, one a line."""


class GivenPictures(Files):
    """Files that messages call by the paths that they were given by. What they show is not known."""

    def __init__(self, given: Sequence[Path]) -> None:
        paths = [os.path.relpath(os.path.abspath(path), "/") for path in given]
        super().__init__("/", paths, np.zeros(len(paths), np.int64))
        self._given = tuple(given)

    def name(self, index: int) -> str:
        return printable(self._given[index])

    def given(self, index: int) -> str:
        """The path as it was given, which opens the file."""
        return str(self._given[index])


def given_pictures(arguments: Sequence[Path]) -> GivenPictures:
    """The files that are meant, in the order of the arguments; those of a folder, and below it, sorted.

    Raises:
        ValueError: there is none.
    """
    found = [file for path in _listed(arguments) for file in _files(path)]
    if not found:
        raise ValueError(f"PICTURES: there is no picture in {', '.join(map(str, arguments))}")
    return GivenPictures(found)


def _listed(arguments: Sequence[Path]) -> Iterator[Path]:
    for path in arguments:
        if str(path) != STDIN:
            yield path
            continue
        for line in sys.stdin.buffer:  # a path need not be text
            name = line.rstrip(b"\r\n")
            if name:
                yield Path(os.fsdecode(name))


def _files(path: Path) -> list[Path]:
    path = path.expanduser()
    return [path / inside for inside in pictures_below(path)] if path.is_dir() else [path]
