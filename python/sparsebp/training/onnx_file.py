"""Writing a network as an ONNX file, from pictures to logits, for runtimes that are not sparsebp's."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Preprocess
from ..files import as_path, write_atomically
from ..version import __version__
from .sparse_model import SparseModel

OPSET = 18
"""The oldest that torch's exporter writes by itself; converters have known it for years."""

INPUT, OUTPUT = "pictures", "logits"
_NEEDED = ("onnx", "onnxscript")  # which torch.onnx asks for


class FromPixels(nn.Module):
    """A network behind its preprocessing: float32 RGB pixels from 0 to 255, [N, 3, H, W], to what it returns."""

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        scale, offset = preprocess.linear()
        self.network = network
        self.scale: torch.Tensor
        self.offset: torch.Tensor
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1))

    def forward(self, pictures: torch.Tensor) -> Any:
        return self.network(pictures * self.scale + self.offset)


class _AsItIs(nn.Module):
    """Gives a network's only argument the name that the file's input has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> Any:
        return self.network(pictures)


def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    preprocess: Preprocess | None = None,
    input_size: tuple[int, int, int] | None = None,
    classes: Sequence[str] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Writes an ONNX file that takes pictures, with their scaling inside, and returns the network's output.

    Its input, ``pictures``, is float32 [N, 3, H, W] for any N: RGB pixels from 0 to 255 as they are, resized to the
    network's size. Its output is called ``logits``. Batch norms are folded into their convolutions. The names of the
    classes stand in the file's metadata, as JSON under ``classes``.

    Args:
        model: a network in float32, or what :func:`sparsebp.convert` made of one. It is left as it was.
        path: of the file; it is replaced whole or not at all.
        preprocess: how a picture becomes input; without it the file takes what the network takes.
        input_size: (C, H, W); may be left out with ``preprocess`` and of a converted model.
        classes: names of the outputs.
        origin: where model and weights came from, in words; JSON in the metadata.

    Raises:
        ImportError: the packages that torch.onnx needs are not installed.
        TypeError, ValueError: an argument is wrong, or the network cannot be written as ONNX.
        OSError: the file cannot be written.
    """
    place = as_path(path, "path")
    _check_packages()
    network, size = _network(model, preprocess, input_size)
    example = torch.zeros(2, *size)  # two: of one picture torch would take the number for a constant
    _check_output(network, example, classes)
    whole = FromPixels(network, preprocess) if preprocess is not None else _AsItIs(network)
    notes = {"sparsebp": __version__, **_described(preprocess, classes, origin)}
    write_atomically(place, _exported(whole.eval(), example, notes))


def _check_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"writing ONNX needs {' and '.join(missing)}, which torch.onnx uses: pip install 'sparsebp[onnx]'"
        )


def _network(
    model: nn.Module, preprocess: Preprocess | None, input_size: tuple[int, int, int] | None
) -> tuple[nn.Module, tuple[int, ...]]:
    """A copy of the plain network on the CPU, and its input's size."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if preprocess is not None and not isinstance(preprocess, Preprocess):
        raise TypeError(f"preprocess: expected a sparsebp.data.Preprocess, got {type(preprocess).__name__}")
    sizes = {
        "preprocess": None if preprocess is None else (3, *preprocess.size),
        "input_size": None if input_size is None else tuple(input_size),
        "the plan of model": tuple(model.plan.input_size) if isinstance(model, SparseModel) else None,
    }
    known = {name: size for name, size in sizes.items() if size is not None}
    if not known:
        raise ValueError("input_size: expected (C, H, W), or preprocess, which has a size; got neither")
    if len(set(known.values())) > 1:
        raise ValueError(f"input_size: expected one size, got {', '.join(f'{s} by {n}' for n, s in known.items())}")
    size = next(iter(known.values()))
    if len(size) != 3 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"input_size: expected (C, H, W), three whole numbers above 0, got {size}")
    plain = copy.deepcopy(model.original if isinstance(model, SparseModel) else model).cpu()
    other = next((f"{n} is {p.dtype}" for n, p in plain.named_parameters() if p.dtype != torch.float32), None)
    if other is not None:
        raise TypeError(f"model: expected float32, but {other}")
    return plain.eval().requires_grad_(False), size


def _check_output(network: nn.Module, example: torch.Tensor, classes: Sequence[str] | None) -> None:
    with torch.no_grad():
        made = network(example)
    if not isinstance(made, torch.Tensor):
        raise TypeError(f"model: expected a network that returns one tensor, this one returns {type(made).__name__}")
    if classes is None:
        return
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise TypeError("classes: expected the names of the outputs, a sequence of str")
    if made.ndim < 2 or made.shape[1] != len(classes):
        raise ValueError(f"classes: the network returns {list(made.shape)} for two pictures, got {len(classes)} names")


def _described(
    preprocess: Preprocess | None, classes: Sequence[str] | None, origin: Mapping[str, Any] | None
) -> dict[str, str]:
    facts = {
        "classes": None if classes is None else list(classes),
        "preprocess": None if preprocess is None else preprocess.to_dict(),
        "origin": None if origin is None else dict(origin),
    }
    return {name: json.dumps(fact) for name, fact in facts.items() if fact is not None}


def _exported(whole: nn.Module, example: torch.Tensor, notes: Mapping[str, str]) -> bytes:
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # what torch's exporter says of its own code
            program = torch.onnx.export(
                whole,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamic_shapes={"pictures": {0: torch.export.Dim("batch")}},
            )
    except Exception as error:  # torch's own kinds of errors differ from version to version
        raise ValueError(f"model: torch.onnx cannot write it: {_first_line(error)}") from error
    assert program is not None
    _forget_traces(program.model)
    program.model.metadata_props.update(notes)
    program.model.producer_name = "sparsebp"
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "network.onnx")
        program.save(file)
        return Path(file).read_bytes()


def _forget_traces(made: Any) -> None:
    """Takes off what torch notes of its own work: lines of code with the folders of whoever exports."""
    for node in made.graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*made.graph.inputs, *made.graph.initializers.values()):
        value.metadata_props.clear()


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}".splitlines()[0]
