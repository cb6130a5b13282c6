"""Files of weights: read without executing anything, written whole or not at all."""

from __future__ import annotations

import json
import warnings
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from ..data import Preprocess
from ..files import as_path, write_atomically
from ..training.plan_file import about, is_plan_file, weights_of
from .inert_pickles import PickledArray, plain_data
from .refused_pickles import reason
from .weight_names import shortened
from .zoos import is_zoo_name, zoo_weights

_METADATA = "sparsebp"
_DEEPEST = 8
"""How many dicts inside each other are looked into."""


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        tensors: by name, after the keys of the dicts that they are in: ``model.features.0.0.weight``.
        metadata: what sparsebp wrote beside them: ``classes``, ``preprocess``, ``model``; empty for other files.
            Of a plan file likewise, and its weights have the shapes of the original model. Weights of a package have
            them too, and ``source``, where they came from.
    """

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, Any]


def read_weights(file: str | Path) -> WeightFile:
    """Reads safetensors, whatever they are called, or what ``torch.save`` wrote of tensors; executes nothing.

    ``torchvision:NAME`` and ``timm:NAME`` are weights of these packages, which may fetch them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, asks for anything else, or holds no named tensors; or a package has no such weights.
        ImportError, ConnectionError: the package is not installed, or weights cannot be fetched.
    """
    path = as_path(file, "weights")
    if is_zoo_name(file):
        return WeightFile(*zoo_weights(str(file)))
    if not path.exists():
        raise FileNotFoundError(f"weights: no such file: {path}")
    if path.is_dir():
        raise ValueError(f"weights: {path} is a folder; expected a .safetensors or .pt file")
    if path.suffix == ".safetensors" or _looks_like_safetensors(path):
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings(), plain_data():
            warnings.simplefilter("ignore")  # about old formats that torch reads all the same
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"weights: {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch.load fails on damaged files in every way that Python knows
        raise ValueError(f"weights: {path} is {reason(path, error)}") from error
    tensors = _named_tensors(found)
    if not tensors:
        raise ValueError(f"weights: {path} holds no tensors with names (a state_dict), but {_summary(found)}")
    return WeightFile(tensors, {})


def _looks_like_safetensors(path: Path) -> bool:
    """Whether the file begins with the length of a header that it has room for, and with the header's brace."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8
    except OSError:
        return False  # what reads it says why


def write_weights(file: Path, model: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Writes a model's ``state_dict`` as safetensors, atomically.

    Raises:
        FloatingPointError: a parameter is not finite; an earlier file is still there.
        OSError: the disk is full or the folder cannot be written; likewise.
    """
    bad = not_finite(dict(model.named_parameters()))
    if bad is not None:
        raise FloatingPointError(f"{file}: not written, {bad} holds numbers that are not finite")
    write_atomically(file, as_safetensors(model.state_dict(), metadata))


def as_safetensors(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> bytes:
    """A file of tensors, with what sparsebp says of them if it says something."""
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # One key only: safetensors writes several in an order of its own, and equal runs make equal files.
    return safetensors.torch.save(plain, {_METADATA: json.dumps(metadata, sort_keys=True)} if metadata else None)


def not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity."""
    # Types of eight bits know no isfinite.
    floats = ((name, t if t.element_size() > 1 else t.float()) for name, t in tensors.items() if t.is_floating_point())
    return next((name for name, t in floats if not t.isfinite().all()), None)


def _read_safetensors(path: Path) -> WeightFile:
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118 - it is no dict
    except OSError as error:
        raise ValueError(f"weights: {path} cannot be read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise ValueError(f"weights: {path} is damaged or no safetensors file ({error})") from error
    try:
        plan = is_plan_file(metadata)
        known = about(metadata, tensors) if plan else json.loads(metadata.get(_METADATA, "{}"))
        tensors = weights_of(tensors, metadata) if plan else tensors
        if not isinstance(known, dict):
            raise ValueError(f"expected an object, got {type(known).__name__}")
        if "preprocess" in known:
            Preprocess.from_dict(known["preprocess"])
        names = known.get("classes", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("expected the names of the classes as a list of text")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"weights: {path}: what sparsebp wrote into its header is damaged ({error})") from error
    if not tensors:
        raise ValueError(f"weights: {path} holds no tensors")
    return WeightFile(tensors, known)


def _named_tensors(found: Any) -> dict[str, torch.Tensor]:
    """Every tensor or array that names alone lead to, outer dicts first; no dict is looked into twice."""
    tensors: dict[str, torch.Tensor] = {}
    waiting, seen = deque([(0, "", found)]), set[int]()
    while waiting:
        depth, prefix, mapping = waiting.popleft()
        if not isinstance(mapping, Mapping) or id(mapping) in seen or depth > _DEEPEST:
            continue
        seen.add(id(mapping))
        for key, value in mapping.items():
            tensor = value.tensor() if isinstance(value, PickledArray) else value
            if isinstance(key, str) and isinstance(tensor, torch.Tensor):
                tensors[prefix + key] = tensor.detach()
            elif isinstance(key, str):
                waiting.append((depth + 1, f"{prefix}{key}.", tensor))
    return tensors


def _summary(found: Any) -> str:
    """What a file holds instead of weights, in a few words."""
    if not isinstance(found, Mapping):
        return f"an object of type {type(found).__name__}"
    return shortened([f"{key} ({_kind(value)})" for key, value in found.items()], 5) or "nothing"


def _kind(value: Any) -> str:
    if isinstance(value, (Mapping, list, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
