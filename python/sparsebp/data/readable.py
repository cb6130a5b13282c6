"""Whether there is a picture to be seen of each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .broken import BrokenPicture
from .sources import Source


def check_classes(source: Source, classes: Sequence[str], broken: Callable[[int], BrokenPicture | None]) -> None:
    """Looks for a picture of each class that can be read; one will do. A class without pictures is passed over.

    Args:
        source: the pictures.
        classes: the name of each label.
        broken: tells why a picture cannot be read, None if it can.

    Raises:
        ValueError: a class has none; the message names it, and says why of its first picture.
    """
    for label, name in enumerate(classes):
        first: BrokenPicture | None = None
        members = np.flatnonzero(source.labels == label).tolist()
        for index in members:
            found = broken(index)
            if found is None:
                break
            first = first or found
        else:
            if first is not None:
                raise ValueError(f"data: no picture could be read of class {name}, which has {len(members):,}; {first}")


def broken_picture(source: Source, index: int) -> BrokenPicture | None:
    """Why a picture cannot be read, None if it can; by reading it."""
    try:
        source.picture(index)
    except BrokenPicture as error:
        # A fresh one: the caught one holds on to the frames it came through, and the picture in them.
        return BrokenPicture(error.name, error.reason)
    return None
