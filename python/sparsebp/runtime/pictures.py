"""Picture files as a session takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.pictures import decode
from ..data.preprocess import Preprocess

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..data.sources import Source
    from .session import Session


class Reader:
    """Reads one picture at a time, fitted as the session's plan says.

    Raises:
        ValueError: the plan was exported without preprocessing, so that nothing says what a picture becomes.
    """

    def __init__(self, session: Session) -> None:
        found = session.metadata.get("preprocess")
        if found is None:
            raise ValueError(
                "plan: it was exported without preprocessing, so that it takes numbers and no pictures; export it with "
                "`sparsebp export`, or with sparsebp.export(..., preprocess=...)"
            )
        self.preprocess = Preprocess.from_dict(found)

    def read(self, file: Path) -> npt.NDArray[np.uint8]:
        """A file's pixels, uint8 [H, W, 3].

        Raises:
            BrokenPicture: it cannot be read.
        """
        return self.preprocess.fit(decode(file, str(file), self.preprocess.levels))

    def of(self, source: Source, index: int) -> npt.NDArray[np.uint8]:
        """The pixels of a picture of a source, uint8 [H, W, 3].

        Raises:
            BrokenPicture: it cannot be read.
        """
        return self.preprocess.fit(source.picture(index))
