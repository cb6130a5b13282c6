"""What trains at a turn as Flower's arrays: equal names and shapes in all clients, as its mods expect them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, prod
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

#: Keys of the records of every message.
ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
#: Flower's own name for the number of pictures.
EXAMPLES = "num-examples"
#: Of a reply that trained nothing, as its client has no network that the message builds on.
BEHIND = "behind"

Shapes = Mapping[str, tuple[int, ...]]


def number(record: Mapping[str, Any], key: str, otherwise: float | None = None) -> float:
    """A number of a record.

    Raises:
        ValueError: there is none, or something else is called so.
    """
    found = record.get(key, otherwise)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise ValueError(f"{key}: expected a number, got {found!r}")
    return found


def finite(record: Mapping[str, Any], key: str, otherwise: float | None = None) -> float:
    """The same, where a mean is to be made of it.

    Raises:
        ValueError: as well where it is not finite.
    """
    found = number(record, key, otherwise)
    if not isfinite(found):
        raise ValueError(f"{key}: expected a finite number, got {found}")
    return found


def to_arrays(values: npt.NDArray[np.float32], shapes: Shapes) -> ArrayRecord:
    """:meth:`.Session.get_trainable` by the names of :attr:`.Session.trainable`."""
    record, first = ArrayRecord(), 0
    for name, shape in shapes.items():
        count = prod(shape)
        record[name] = Array(values[first : first + count].reshape(shape))
        first += count
    return record


def from_arrays(record: ArrayRecord, shapes: Shapes) -> npt.NDArray[np.float32]:
    """What :meth:`.Session.set_trainable` takes.

    Raises:
        ValueError: names, shapes or types are others.
    """
    if record.keys() != shapes.keys():
        different = sorted(record.keys() ^ shapes.keys())
        raise ValueError(f"arrays: {len(different)} names are others, such as {different[0]}; is it another plan?")
    values = []
    for name, shape in shapes.items():
        array = record[name].numpy()
        if array.shape != shape:
            raise ValueError(f"arrays: expected {list(shape)} numbers of {name}, got {list(array.shape)}")
        values.append(array.ravel())
    # Mods that add noise may leave numbers of double precision.
    return np.concatenate(values).astype(np.float32, copy=False)
