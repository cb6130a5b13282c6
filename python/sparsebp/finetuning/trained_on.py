"""What stands beside weights of the pictures that they were trained on: enough to know these again."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Dataset, Files
from ..data.combined import keys_of
from ..data.dataset import known_pictures
from ..data.split import BY_DRAW, BY_NAME

KEY = "trained_on"
"""Of what sparsebp writes into the header of a file of weights."""


def split_rule(metadata: Mapping[str, Any]) -> str:
    """The rule by which weights had their test pictures held out, by what the header of their file says."""
    # A seed without a rule is from before there were two.
    return str(metadata.get("split", BY_DRAW if "seed" in metadata else BY_NAME))


@dataclass(frozen=True)
class TrainedOn:
    """Pictures in files that weights were trained on.

    Attributes:
        place: a digest of where their folder was.
        pictures: a digest of the whole set, with those held out, wherever it lies.
        learned: keys of those that were learned from, see :meth:`sparsebp.data.Files.keys`.
    """

    place: str
    pictures: str
    learned: npt.NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset, learned: npt.NDArray[np.int64] | None) -> TrainedOn | None:
        """``learned`` of the dataset, and what was known before; None where pictures are no files."""
        root = _root(dataset)
        if root is None or learned is None:
            return None
        earlier = dataset.learned if dataset.learned is not None else np.empty(0, np.int64)
        return cls(_place(root), _digest(dataset), np.union1d(earlier, learned))

    def is_of(self, dataset: Dataset) -> bool:
        """Whether a dataset is the one that was split for training: in the same place, or elsewhere but the same."""
        root = _root(dataset)
        if root is None:
            return False
        here = self.place == _place(root) and known_pictures(dataset.everything, self.learned) > 0
        return here or self.pictures == _digest(dataset)

    def to_dict(self) -> dict[str, str]:
        """What JSON can hold; :meth:`read` reads it."""
        packed = base64.b64encode(self.learned.astype("<i8").tobytes()).decode()
        return {"place": self.place, "pictures": self.pictures, "learned": packed}

    @classmethod
    def read(cls, metadata: Mapping[str, Any], source: str) -> TrainedOn | None:
        """What the header of a file of weights says, None if nothing.

        Raises:
            ValueError: it is damaged; the message begins with ``source``.
        """
        found = metadata.get(KEY)
        if found is None:
            return None
        try:
            learned = np.frombuffer(base64.b64decode(found["learned"], validate=True), "<i8").astype(np.int64)
            return cls(str(found["place"]), str(found["pictures"]), learned)
        except (TypeError, KeyError, ValueError, binascii.Error) as error:
            raise ValueError(f"{source}: what it says of its training pictures is damaged ({error})") from error


def _root(dataset: Dataset) -> Path | None:
    """The folder of the training pictures."""
    whole = dataset.everything if dataset.split is not None else dataset.train
    return whole.root if isinstance(whole, Files) else None


def _digest(dataset: Dataset) -> str:
    keys = keys_of(dataset.everything)
    return "" if keys is None else hashlib.sha256(np.sort(keys).tobytes()).hexdigest()


def _place(root: Path) -> str:
    # No path: a file of weights that is passed on should not tell whose folder it was.
    return hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
