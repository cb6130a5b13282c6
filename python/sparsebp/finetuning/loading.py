"""A trained network from its file: the model, the names of its classes, and how it wants its pictures."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import cast

from torch import nn

from ..data import Preprocess
from ..files import as_path
from ..networks.names import build_model, resolve_model
from ..networks.pretrained import WeightFile, load_pretrained, read_weights, replace_classifier
from . import checkpoint, demo
from .folder import WEIGHTS


class Classifier(nn.Module):
    """What type checkers know of a loaded model, which is of its own class.

    Attributes:
        classes: the name of each output.
        preprocess: how a picture becomes input.
    """

    classes: tuple[str, ...]
    preprocess: Preprocess


def load(weights: str | Path, *, model: nn.Module | str | None = None) -> Classifier:
    """The network that ``sparsebp finetune`` or ``sparsebp export`` wrote, ready to classify pictures.

    It is the original network in plain torch, in evaluation mode, with two more attributes: ``classes``, a tuple of
    names, and ``preprocess``, a :class:`sparsebp.data.Preprocess`. Nothing in the file is executed. But it names its
    network, a function of :mod:`sparsebp.models` or of a module that Python finds on this machine, which is called.

    Args:
        weights: the folder of a run, its ``model.safetensors``, or a plan file. Of a run that is not finished the
            newest checkpoint is loaded.
        model: the network, or the name of the function that makes it, ``package.module:function``; None for what the
            file says, which it does if the command line wrote it.

    Raises:
        FileNotFoundError: there is no such file or run.
        ValueError: the file is damaged, does not say enough, or is of another network.
    """
    file = weights_file(weights)
    return of_weights(read_weights(file), file, model)


def weights_file(path: str | Path) -> Path:
    """The file of weights at ``path``: itself, or in the folder of a run the trained ones or the newest checkpoint's.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    file = as_path(path, "weights").expanduser()
    if not file.is_dir():
        return file
    newest = checkpoint.latest(file) or file  # which may be a checkpoint itself
    inside = (file / WEIGHTS, newest / checkpoint.WEIGHTS)
    found = next((one for one in inside if one.exists()), None)
    if found is None:
        raise FileNotFoundError(f"weights: expected a file, or the folder of a run; {file} holds no {WEIGHTS}")
    return found


def of_weights(found: WeightFile, file: Path, model: nn.Module | str | None = None) -> Classifier:
    """As :func:`load`, of a file that is read already."""
    known = found.metadata
    lacking = [what for key, what in (("classes", "the names of its classes"), ("preprocess", "how it wants pictures"))
               if key not in known]  # fmt: skip
    if lacking:
        raise ValueError(
            f"weights: {file} does not say {' and '.join(lacking)}, as files of sparsebp finetune and sparsebp export "
            "do; sparsebp.load_weights brings other files into a model"
        )
    name = model if model is not None else known.get("model")
    if name is None:
        raise ValueError(f"weights: {file} does not say which network it is of; give model")
    network = name if isinstance(name, nn.Module) else _build(str(name), len(known["classes"]), by_file=model is None)
    source = f"weights {file}"
    loaded = load_pretrained(network, found, source)
    if loaded.fresh is not None:  # a network whose function takes no num_classes
        replace_classifier(network, len(known["classes"]))
        loaded = load_pretrained(network, found, source)
    if loaded.fresh is not None:
        raise ValueError(f"{source}: it names {len(known['classes'])} classes, but {loaded.fresh} has another shape")
    made = cast(Classifier, network.eval())
    made.classes, made.preprocess = tuple(known["classes"]), Preprocess.from_dict(known["preprocess"])
    return made


def check_named(name: str) -> None:
    """Raises ValueError of a function that a file names and that is Python's own: none may have ``os:abort`` called."""
    if name != demo.MODEL and _is_of_python(name):
        raise ValueError(f"model: the file names {name!r}, which is a part of Python and makes no network; give model")


def _build(name: str, classes: int, by_file: bool) -> nn.Module:
    if by_file:
        check_named(name)
    return demo.architecture() if name == demo.MODEL else build_model(name, classes)


def _is_of_python(name: str) -> bool:
    module, colon, _ = name.partition(":")
    if not colon:
        return False
    if module.partition(".")[0] in _PYTHON:
        return True
    function = resolve_model(name)  # named in one module, it may be another one's: torch:os.abort
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__module__", None)).partition(".")[0] in _PYTHON


_PYTHON = sys.stdlib_module_names | {"builtins"}
