"""Pretrained weights from a file into a model whose last layer may have another number of classes."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from .data import Preprocess
from .files import write_atomically

_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts usually put the weights of a checkpoint."""
_METADATA = "sparsebp"


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        tensors: by parameter name.
        metadata: what sparsebp wrote beside them: ``classes``, ``preprocess``, ``model``; empty for other files.
    """

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, Any]


def read_weights(file: str | Path) -> WeightFile:
    """Reads ``.safetensors``, or whatever ``torch.load(weights_only=True)`` reads; executes nothing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or holds something else than a ``state_dict``.
    """
    path = Path(file)
    if not path.exists():
        raise FileNotFoundError(f"weights: no such file: {path}")
    if path.is_dir():
        raise ValueError(f"weights: {path} is a folder; expected a .safetensors or .pt file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats that torch reads all the same
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"weights: {path} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"weights: {path} is no file of plain tensors, or damaged; only those are read, since loading anything "
            "else could execute code. Save model.state_dict() instead of the model"
        ) from error
    except Exception as error:  # torch.load fails on damaged files in every way that Python knows
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"weights: {path} is damaged or no PyTorch file ({why})") from error
    return WeightFile(_unwrap(found, path), {})


def write_weights(file: Path, model: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Writes a model's ``state_dict`` as safetensors, atomically.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    tensors = {k: t.detach().contiguous() for k, t in model.state_dict().items()}
    # One key only: safetensors writes several in an order of its own, and equal runs make equal files.
    text = {_METADATA: json.dumps(metadata, sort_keys=True)}
    write_atomically(file, safetensors.torch.save(tensors, text))


def load_pretrained(model: nn.Module, weights: WeightFile, source: str = "weights") -> str | None:
    """Loads weights into a model; a last layer with another number of classes keeps its fresh values.

    Args:
        model: with the wanted number of classes.
        weights: from :func:`read_weights`.
        source: what messages call the file.

    Returns:
        The name of the layer that starts afresh, or None.

    Raises:
        ValueError: names or shapes do not fit for another reason; the model is unchanged.
    """
    own = model.state_dict()
    _check_names(own.keys(), weights.tensors.keys(), source)
    given = {k: t for k, t in weights.tensors.items() if k in own}
    different = [k for k, t in given.items() if t.shape != own[k].shape]
    fresh: str | None = None
    if different:
        last = last_layer(model)
        if last is not None and _only_classes_differ(different, last, own, given):
            fresh = last
        else:
            k = different[0]
            raise ValueError(
                f"{source}: {k} has shape {list(weights.tensors[k].shape)}, the model expects {list(own[k].shape)}; "
                f"{len(different)} of {len(own)} shapes differ. Is it another width or another model?"
            )
    bad = next((k for k, t in weights.tensors.items() if t.is_floating_point() and not t.isfinite().all()), None)
    if bad is not None:
        raise ValueError(f"{source}: {bad} holds numbers that are not finite")
    model.load_state_dict({k: own[k] if k in different else given.get(k, own[k]) for k in own})
    return fresh


def last_layer(model: nn.Module) -> str | None:
    """The name of the last linear layer or, without any, of the last convolution."""
    linear: str | None = None
    convolution: str | None = None
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            linear = name
        elif isinstance(module, nn.Conv2d):
            convolution = name
    return linear or convolution


def replace_classifier(model: nn.Module, classes: int) -> None:
    """Puts a freshly initialised last layer with ``classes`` outputs where another number is.

    Raises:
        ValueError: the model has no linear layer or convolution to replace.
    """
    name = last_layer(model)
    if name is None:
        raise ValueError(f"model: it has no linear layer or convolution that could tell {classes} classes apart")
    old = model.get_submodule(name)
    new: nn.Module
    if isinstance(old, nn.Linear):
        if old.out_features == classes:
            return
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    else:
        assert isinstance(old, nn.Conv2d)
        if old.out_channels == classes:
            return
        new = nn.Conv2d(
            old.in_channels,
            classes,
            old.kernel_size,  # type: ignore[arg-type]
            old.stride,  # type: ignore[arg-type]
            old.padding,  # type: ignore[arg-type]
            old.dilation,  # type: ignore[arg-type]
            old.groups,
            old.bias is not None,
            old.padding_mode,
        )
    model.set_submodule(name, new.to(old.weight.dtype))


def usual_preprocess(weights: WeightFile, size: tuple[int, int]) -> Preprocess:
    """How the network that these weights come from wants its pictures.

    A file that sparsebp wrote says so itself. Otherwise: weights whose batch norms are all folded away (statistics
    0 and 1) come from Keras or TensorFlow Lite, which want pixels in [-1, 1]; the rest are taken for
    torchvision's, which want ImageNet's mean and standard deviation removed.
    """
    known = weights.metadata.get("preprocess")
    if known is not None:
        return Preprocess.from_dict({**known, "size": list(size)})
    if _norms_are_folded(weights.tensors):
        return Preprocess(size, range=(-1.0, 1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Preprocess(size)


def _norms_are_folded(tensors: Mapping[str, torch.Tensor]) -> bool:
    means = [t for k, t in tensors.items() if k.endswith("running_mean")]
    variances = [t for k, t in tensors.items() if k.endswith("running_var")]
    # A variance of 1 - eps makes the division exact, so that both are seen.
    # What folding leaves is the shift; without any, the network was never trained.
    shifts = [tensors.get(k.removesuffix("running_mean") + "bias") for k in tensors if k.endswith("running_mean")]
    if not any(t is not None and bool(t.any()) for t in shifts):
        return False
    return bool(means) and all(not t.any() for t in means) and all(((t - 1).abs() < 0.01).all() for t in variances)


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
        known = json.loads(metadata.get(_METADATA, "{}"))
        if not isinstance(known, dict):
            raise ValueError(f"expected an object, got {type(known).__name__}")
        if "preprocess" in known:
            Preprocess.from_dict(known["preprocess"])
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"weights: {path}: what sparsebp wrote into its header is damaged ({error})") from error
    return WeightFile(tensors, known)


def _unwrap(found: Any, path: Path) -> dict[str, torch.Tensor]:
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(
        isinstance(k, str) and isinstance(t, torch.Tensor) for k, t in found.items()
    ):
        raise ValueError(f"weights: {path} holds no state_dict (names with tensors); got {type(found).__name__}")
    if not found:
        raise ValueError(f"weights: {path} holds no tensors")
    shared = "module."  # what DataParallel puts before every name
    strip = all(k.startswith(shared) for k in found)
    return {k.removeprefix(shared) if strip else k: t for k, t in found.items()}


def _check_names(own: Any, given: Any, source: str) -> None:
    # Files from before torch 0.4.1 lack the counters, which nothing reads here.
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in given if k not in own]
    if missing or unexpected:
        what = [*_counted("they lack", missing), *_counted("the model does not know", unexpected)]
        raise ValueError(f"{source}: they belong to another model: {', '.join(what)}")


def _counted(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - 1} more" if names[1:] else ""
    return [f"{what} {names[0]}{more}"] if names else []


def _only_classes_differ(
    different: list[str], last: str, own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]
) -> bool:
    names = {f"{last}.weight", f"{last}.bias"}
    return set(different) <= names and all(own[k].shape[1:] == given[k].shape[1:] for k in different)
