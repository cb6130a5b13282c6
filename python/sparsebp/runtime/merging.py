"""One plan file of many deltas: what several machines trained from one base, averaged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import _C
from ..data.digests import sha256
from ..errors import PlanFileError
from ..files import write_atomically
from .deltas import apply_delta
from .stored_tensors import StoredTensors
from .weighting import checked_weight

_OWN, _STATE, _CLASSES, _CHANNELS = "sparsebp.", "sparsebp.state", "sparsebp.classes", "sparsebp.channels."


@dataclass(frozen=True)
class Merged:
    """What was merged.

    Attributes:
        weights: of the deltas, in the order in which they were given.
        tensors: of which something was trained.
        rows: that were trained, of the weights of which not all rows were.
        shared_rows: those that more than one delta has trained.
    """

    weights: tuple[float, ...]
    tensors: int
    rows: int
    shared_rows: int


@dataclass(frozen=True)
class _Delta:
    path: Path
    digest: str
    tensors: StoredTensors
    weight: float

    @property
    def batches(self) -> int:
        return _batches(self.tensors)[1]


class _Average:
    """Of one tensor, by rows: a weight's rows are those of its input channels, any other tensor is one row."""

    def __init__(self, rows: int, numbers: int) -> None:
        self.sum, self.weight = np.zeros((rows, numbers)), np.zeros(rows)
        self.count = np.zeros(rows, np.int64)

    def add(self, rows: npt.NDArray[np.int64], values: npt.NDArray[np.float32], weight: float) -> None:
        self.sum[rows] += np.multiply(values, weight, dtype=np.float64)
        self.weight[rows] += weight
        self.count[rows] += 1


def merge_deltas(
    base: str | os.PathLike[str],
    deltas: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    weights: Sequence[float] | None = None,
) -> Merged:
    """Writes the mean of what ``base`` becomes with each of the deltas, which are given in any order.

    Each row of a weight is the weighted mean over the deltas that trained it, and stays as it is in the base where none
    has; each shift, bias and the classifier is the mean over the deltas that have it. The training state is that of the
    delta that has seen the most batches. Sums are in double precision and in the order of the deltas' digests, so the
    result has the same bits for any order.

    Args:
        base: the plan file that every delta continues.
        deltas: what machines saved with :meth:`.Session.save_delta` or made with :func:`.make_delta`.
        out: the new plan file, whole or not at all; may be ``base``.
        weights: of the deltas, above 0, from 1e-15 to 1e15; by default the batches that each has trained.

    Raises:
        PlanFileError: a file is damaged, or a delta continues another base or plan.
        ValueError: a delta is given twice, weights do not fit, or classes were added that are not the same in all.
    """
    files = _read(deltas, weights)
    path, base = Path(out), Path(base)
    result = StoredTensors(bytearray(base.read_bytes()), os.fspath(base))
    groups, averages = _groups(result, files), dict[str, _Average]()
    longest = max(files, key=lambda delta: (delta.batches, delta.digest))
    part = path.with_name(f".{path.name}.{os.getpid()}-0.partial")
    try:
        for delta in files:
            apply_delta(base, delta.path, part)  # which checks base, plan and digests
            made = StoredTensors(part.read_bytes(), os.fspath(delta.path))
            _add(made, delta, averages, groups)
            for name in (_STATE, _CLASSES) if delta is longest else ():
                if name in result.places:
                    result[name][...] = made[name]
    finally:
        with suppress(OSError):
            part.unlink()
    for name, average in averages.items():
        _put(result, name, average, groups.get(name))
    data = bytes(result.data)
    _C.OpenPlan.from_bytes(data)  # a file that no session opens is not written
    write_atomically(path, data)
    weight_of = {delta.path: delta.weight for delta in files}
    counts = [average.count for name, average in averages.items() if name in groups]
    return Merged(
        tuple(weight_of[Path(delta)] for delta in deltas),
        len(averages),
        int(sum((count > 0).sum() for count in counts)),
        int(sum((count > 1).sum() for count in counts)),
    )


def _read(deltas: Sequence[str | os.PathLike[str]], weights: Sequence[float] | None) -> list[_Delta]:
    """The deltas with their weights, by digest."""
    if not deltas:
        raise ValueError("deltas: expected at least one, got none")
    if weights is not None and len(weights) != len(deltas):
        raise ValueError(f"weights: expected one for each of {len(deltas)} deltas, got {len(weights)}")
    found: dict[str, _Delta] = {}
    for place, delta in enumerate(map(Path, deltas)):
        try:
            data = delta.read_bytes()
        except OSError as error:
            raise PlanFileError(f"{delta}: cannot be opened: {error.strerror}") from error
        tensors, digest = StoredTensors(data, str(delta)), sha256(data).hexdigest()
        if digest in found:
            raise ValueError(f"deltas: {delta} and {found[digest].path} are the same; each counts once")
        found[digest] = _Delta(delta, digest, tensors, _weight(tensors, None if weights is None else weights[place]))
    classes = {d.tensors[_CLASSES].tobytes() if _CLASSES in d.tensors.places else b"" for d in found.values()}
    if len(classes) > 1:
        raise ValueError("deltas: they have added different classes; their classifiers cannot be averaged")
    return [found[digest] for digest in sorted(found)]


def _batches(delta: StoredTensors) -> tuple[int, int]:
    """Seen when it began, and when it ended."""
    try:
        return int(delta.metadata["base_batches"]), int(delta.metadata["batches"])
    except (KeyError, ValueError) as error:
        raise PlanFileError(f"{delta.name}: a safetensors file that is no delta") from error


def _weight(delta: StoredTensors, given: float | None) -> float:
    begin, end = _batches(delta)
    if given is None:
        if end <= begin:
            raise ValueError(f"weights: {delta.name} says of no batches that it has trained; give a weight for each")
        return float(end - begin)
    return checked_weight("weights", given)


def _groups(base: StoredTensors, deltas: Sequence[_Delta]) -> dict[str, int]:
    """Of the weights of which a delta has some rows only: their groups. Rows have [..., outputs of a group]."""
    found = {}
    for delta in deltas:
        for name, place in delta.tensors.places.items():
            if _CHANNELS + name in delta.tensors.places and name in base.places:
                found[name] = base.places[name].shape[-1] // place.shape[-1]
    return found


def _rows(weight: npt.NDArray[np.float32], groups: int) -> npt.NDArray[np.float32]:
    """A weight [..., in / groups, out] as [in, numbers that read an input channel]."""
    inside, out = weight.shape[-2:]
    taps = weight.reshape(-1, inside, groups, out // groups)
    return taps.transpose(2, 1, 0, 3).reshape(groups * inside, -1)


def _add(made: StoredTensors, delta: _Delta, averages: dict[str, _Average], groups: dict[str, int]) -> None:
    """Adds what a delta made of the base."""
    for name in delta.tensors.places:
        if name.startswith(_OWN):
            continue
        values = _rows(made[name], groups[name]) if name in groups else made[name].reshape(1, -1)
        rows = np.arange(len(values))
        if _CHANNELS + name in delta.tensors.places:
            rows = delta.tensors[_CHANNELS + name].astype(np.int64)
        if name not in averages:
            averages[name] = _Average(*values.shape)
        averages[name].add(rows, values[rows], delta.weight)


def _put(result: StoredTensors, name: str, average: _Average, groups: int | None) -> None:
    """Puts means in place of the rows that were trained."""
    place, trained = result[name], average.count > 0
    values = _rows(place, groups).copy() if groups else place.reshape(1, -1).copy()
    values[trained] = average.sum[trained] / average.weight[trained, None]
    if groups:
        inside, out = place.shape[-2:]
        back = values.reshape(groups, inside, -1, out // groups).transpose(2, 1, 0, 3)
        place[...] = back.reshape(place.shape)
    else:
        place[...] = values.reshape(place.shape)
