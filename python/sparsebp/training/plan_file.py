"""What a plan file is to PyTorch: a safetensors file whose weights may lie in the kernels' order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from ..files import as_path
from .class_names import TENSOR, names_of, without_spare
from .weight_memory import kernel_order

#: What the header of a plan file says of itself.
FORMAT, VERSION = "sparsebp-plan", "1.0"
#: Of weights whose memory is in the kernels' order.
LAYOUT = "HWIO"
#: In the header: the names of weights [in, out, ...], those of transposed convolutions.
TRANSPOSED = "transposed"
#: Before the names of tensors that are no weights.
PREFIX = "sparsebp."
#: In the header of one with spare outputs: the layer that makes them.
CLASSIFIER = "classifier"
_PLAIN = ("classes", "preprocess", "origin")


def is_plan_file(header: Mapping[str, str]) -> bool:
    """Whether the header of a safetensors file is that of a plan file."""
    return header.get("format") == FORMAT


def stored(weight: torch.Tensor, transposed: bool = False) -> torch.Tensor:
    """A weight of a convolution or linear layer as a plan file has it."""
    return (weight.permute(kernel_order(weight.dim(), transposed)) if weight.dim() > 1 else weight).contiguous()


def in_order(file: bytes) -> bytes:
    """A safetensors file with its metadata sorted, which safetensors writes in any order: equal plans, equal files."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[end:]


def weights_of(tensors: Mapping[str, torch.Tensor], header: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """The weights of a plan file, with their names and shapes in the original model of as many classes.

    Raises:
        ValueError: it is damaged.
    """
    out, transposed = {}, set(json.loads(header.get(TRANSPOSED, "[]")))
    for name, tensor in tensors.items():
        if not name.startswith(PREFIX):
            ordered = header.get("layout") == LAYOUT and tensor.dim() > 1
            order = kernel_order(tensor.dim(), name in transposed)
            back = [order.index(i) for i in range(tensor.dim())] if ordered else []
            out[name] = tensor.permute(back).contiguous() if ordered else tensor
    names = names_of(tensors)
    if names is None:
        return out
    return without_spare(out, header.get(CLASSIFIER, ""), len(tensors[TENSOR]), len(names))


def about(header: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What a plan file says of its weights, as files of weights do: classes, preprocessing, where they came from.

    Raises:
        ValueError: it is damaged.
    """
    found = {key: json.loads(header[key]) for key in _PLAIN if key in header}
    origin = found.pop("origin", {})
    if not isinstance(origin, dict):
        raise ValueError(f"origin: expected an object, got {type(origin).__name__}")
    names = names_of(tensors)
    return {**origin, **found, **({} if names is None else {"classes": names})}


def load_file(path: str | Path) -> dict[str, torch.Tensor]:
    """The weights of a plan file, by their names and with their shapes in the original model.

    ``original.load_state_dict(sparsebp.load_file(path))`` takes them, in an original with as many outputs as the file
    has classes: rows of spare outputs stay behind.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or no plan file.
    """
    try:
        with safetensors.safe_open(str(as_path(path, "path")), "pt") as file:
            header = file.metadata() or {}
            if is_plan_file(header):
                return weights_of({name: file.get_tensor(name) for name in file.keys()}, header)  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"path: {path} is damaged or no safetensors file ({error})") from error
    raise ValueError(f"path: {path} is no plan file of sparsebp")
