"""A folder with a folder per class, into which pictures come."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.folders import is_something_else, spelt, subfolders
from .draws import Draws
from .seen_pictures import SeenPictures, key_of

AT_ONCE = 1024
"""New pictures of one look at the folder: of more, some are taken and the others are there at the next look."""


class Picture(NamedTuple):
    """A file, its class, and what it is known by."""

    file: Path
    name: str
    key: int


class WatchedFolder:
    """Finds the pictures that are new.

    Args:
        folder: with a folder per class; what is in folders below these is left alone.
        seen: pictures that are not new; told which ones are there.
        draws: of the order of those that are found together: one class after the other would be forgotten as fast as it
            is learned.
    """

    def __init__(self, folder: Path, seen: SeenPictures, draws: Draws) -> None:
        self._folder, self._seen, self._draws = folder, seen, draws

    def look(self, takes: Callable[[str], bool]) -> list[Picture]:
        """New pictures, up to :data:`AT_ONCE`, in any order.

        Args:
            takes: whether pictures of a class are wanted; asked of classes that have a new one.

        Raises:
            OSError: the folder cannot be read.
        """
        found: list[Picture] = []
        new, there = 0, array("Q")
        for inside in subfolders(self._folder):
            name, wanted = spelt(inside), None
            for file, size in _pictures(self._folder / inside):
                key = key_of(name, file, size)
                there.append(key)
                if key in self._seen:
                    continue
                wanted = takes(name) if wanted is None else wanted
                if not wanted:
                    break
                new += 1
                picture = Picture(self._folder / inside / file, name, key)
                if len(found) < AT_ONCE:
                    found.append(picture)
                elif (place := self._draws.below(new)) < AT_ONCE:  # each new one is as likely
                    found[place] = picture
        self._seen.forget_gone(np.array(there, np.uint64))
        return [found[place] for place in self._draws.some(len(found), len(found))]


def _pictures(folder: Path) -> Iterator[tuple[str, int]]:
    """Names and sizes of the files in a folder, but of hidden ones and those that are no pictures by their names."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:  # the folder may be gone
        for entry in entries:
            if entry.name.startswith(".") or is_something_else(entry.name) or not entry.is_file():
                continue
            with suppress(FileNotFoundError):  # so may the file
                yield entry.name, entry.stat().st_size
