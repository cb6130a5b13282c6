"""What lies where in a safetensors file, for those who have no library that reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import PlanFileError

_BYTES: np.dtype[Any] = np.dtype("u1")
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "U8": _BYTES}
_LARGEST_HEADER = 100 * 2**20


@dataclass(frozen=True)
class Place:
    """Of a tensor: its type and shape, and where its bytes begin. What no session reads as numbers is bytes here."""

    type: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int


class StoredTensors:
    """The tensors of a file that is in memory.

    Args:
        data: the whole file; where it can be written, so can the tensors.
        name: of the file, for messages.

    Raises:
        PlanFileError: it is no safetensors file.
    """

    def __init__(self, data: bytes | bytearray, name: str) -> None:
        self.data, self.name = data, name
        try:
            size = int.from_bytes(data[:8], "little")
            if size > min(len(data), _LARGEST_HEADER):
                raise ValueError("its header is cut off")
            header = json.loads(bytes(data[8 : 8 + size]))
            self.metadata: dict[str, str] = header.pop("__metadata__", {})
            self.places = {name: _place(entry, 8 + size, len(data)) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanFileError(f"{name}: no safetensors file, or a damaged one: {error}") from error

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """A tensor, in the file's own memory."""
        place = self.places[name]
        return np.frombuffer(self.data, place.type, prod(place.shape), place.begin).reshape(place.shape)


def _place(entry: dict[str, Any], start: int, size: int) -> Place:
    begin, end = (int(n) for n in entry["data_offsets"])
    kind, shape = _TYPES.get(entry["dtype"]), tuple(int(n) for n in entry["shape"])
    place = Place(_BYTES, (end - begin,), start + begin) if kind is None else Place(kind, shape, start + begin)
    if not 0 <= begin <= end <= size - start or end - begin != prod(place.shape) * place.type.itemsize:
        raise ValueError("a tensor lies outside")
    return place
