"""Checkpoints of a run: folders of safetensors and JSON that appear whole or not at all.

``checkpoint-000007/`` holds ``weights.safetensors`` (the model's, under the original keys),
``training.safetensors`` (what the arena keeps from step to step, and the state of torch's generator) and
``state.json`` (position, settings, the plan, history, and the size and SHA-256 of the other
two). Nothing in them is executed when they are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ..files import remove_folder, write_folder_atomically
from ..networks.weight_files import as_safetensors

FORMAT = "sparsebp checkpoint"
VERSION = 4
_READABLE = (2, 3, VERSION)
ORDER = "order"
"""Among the tensors: the keys of the current epoch's pictures in their order, where pictures have names."""
RESTS = "rests"
"""Among the tensors: for how long pictures rest, by their number, where they do."""
WEIGHTS = "weights.safetensors"
"""The model's, in the folder of a checkpoint."""
_PREFIX = "checkpoint-"
_TENSOR_FILES = (WEIGHTS, "training.safetensors")


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and says why."""


class OtherSettingError(CheckpointError):
    """A checkpoint is of a run with another setting.

    Attributes:
        path: of the checkpoint.
        setting: its name.
        before, now: values of it, as JSON has them.
    """

    def __init__(self, path: Path, setting: str, before: Any, now: Any) -> None:
        super().__init__(
            f"{path}: it was made with {setting}={before}, now {setting}={now}; give the same settings, or choose "
            "another folder"
        )
        self.path, self.setting, self.before, self.now = path, setting, before, now

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.setting, self.before, self.now)


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        weights: the model's ``state_dict``.
        training: tensors besides: the arena's persistent regions, torch's generator.
        facts: plain data: position, settings, fingerprints, history.
        about: what stands beside the weights, so that they can be used by themselves.
    """

    weights: Mapping[str, torch.Tensor]
    training: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a run's folder."""
    found = _all(folder)
    return found[-1] if found else None


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of a run's folder, read and checked.

    Raises:
        CheckpointError: it is damaged.
    """
    path = latest(folder)
    return None if path is None else read(path)


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Adds a checkpoint to a run's folder and removes the ones before it; returns where it is.

    Raises:
        OSError: it cannot be written; the one before it is still there.
    """
    earlier = _all(folder)
    number = int(earlier[-1].name.removeprefix(_PREFIX)) + 1 if earlier else 1
    target = folder / f"{_PREFIX}{number:06d}"
    parts = as_safetensors(checkpoint.weights, checkpoint.about), as_safetensors(checkpoint.training, {})
    files = dict(zip(_TENSOR_FILES, parts, strict=True))
    sums = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    state = {"format": FORMAT, "version": VERSION, "files": sums, **checkpoint.facts}
    state["sha256"] = _digest(state)
    files["state.json"] = (json.dumps(state, indent=1) + "\n").encode()
    write_folder_atomically(target, files)
    clean(folder)
    return target


def clean(folder: Path) -> None:
    """Removes all checkpoints but the newest, and what a kill left of others."""
    for old in [*folder.glob(f".{_PREFIX}*"), *_all(folder)[:-1]]:
        with suppress(OSError):  # the next one removes what is left
            remove_folder(old)


def read(path: Path) -> Checkpoint:
    """A checkpoint, checked.

    Raises:
        CheckpointError: it is incomplete, damaged, or something else.
    """
    state = _read_state(path / "state.json")
    tensors = [_read_tensors(path / name, state["files"]) for name in _TENSOR_FILES]
    facts = {k: v for k, v in state.items() if k not in ("format", "version", "files")}
    return Checkpoint(tensors[0], tensors[1], facts)


def _all(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (f for f in folder.glob(f"{_PREFIX}*") if f.name.removeprefix(_PREFIX).isdigit() and f.is_dir())
    return sorted(found, key=lambda f: int(f.name.removeprefix(_PREFIX)))


def _read_state(file: Path) -> dict[str, Any]:
    try:
        state = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror}); this is no complete checkpoint") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: damaged, not valid JSON ({error})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{file}: not a checkpoint of sparsebp")
    if state.get("version") not in _READABLE:
        raise CheckpointError(
            f"{file}: written in version {state.get('version')} of the format, this sparsebp reads "
            f"{' and '.join(map(str, _READABLE))}"
        )
    if state.pop("sha256", None) != _digest(state) or not isinstance(state.get("files"), dict):
        raise CheckpointError(f"{file}: damaged, its SHA-256 is not the one inside")
    return state


def _digest(state: Mapping[str, Any]) -> str:
    # By way of JSON and back: keys become strings and tuples lists, as they are after reading.
    plain = json.loads(json.dumps(state))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _read_tensors(file: Path, sums: dict[str, Any]) -> dict[str, torch.Tensor]:
    expected = sums.get(file.name)
    if not isinstance(expected, dict):
        raise CheckpointError(f"{file}: not listed in state.json")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    if len(data) != expected.get("bytes"):
        raise CheckpointError(f"{file}: truncated or replaced, expected {expected.get('bytes')} bytes, got {len(data)}")
    if hashlib.sha256(data).hexdigest() != expected.get("sha256"):
        raise CheckpointError(f"{file}: damaged, its SHA-256 is not the one in state.json")
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file}: not a safetensors file ({error})") from error
