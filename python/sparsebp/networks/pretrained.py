"""Pretrained weights from a file into a model whose last layer may stand for other classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..data import Preprocess
from ..training.learning_rules import last_layer
from .class_rows import match_classes
from .efficientnet_lite0 import PIXELS, is_efficientnet_lite
from .weight_files import WeightFile, not_finite, read_weights, write_weights
from .weight_names import Location, State, locate, shortened

__all__ = [
    "LoadedWeights",
    "WeightFile",
    "last_layer",
    "load_pretrained",
    "load_weights",
    "read_weights",
    "replace_classifier",
    "usual_preprocess",
    "write_weights",
]


@dataclass(frozen=True)
class LoadedWeights:
    """What loading did, for people.

    Attributes:
        fresh: the last layer, if none of it came from the file.
        classifier: what became of the last layer; empty if its classes were not told.
        source: which of the file's tensors were taken, and as what; empty if there is nothing to say.
    """

    fresh: str | None
    classifier: str
    source: str


def load_weights(
    model: nn.Module, file: str | Path | WeightFile, classes: Sequence[str] | None = None, *, seed: int = 0
) -> LoadedWeights:
    """Loads a file of weights into a model, and makes its last layer one for ``classes``.

    Rows of classes that the weights know by name go where these classes are; new classes get fresh rows, and rows of
    other classes are dropped. Weights that name no classes go on as they are if they have as many, or else start
    afresh in the last layer. The prefixes that trainers put before names are recognised.

    Args:
        model: changed in place; its last layer is replaced if it has another number of outputs.
        file: ``.safetensors`` or ``.pt``, or what :func:`read_weights` made of it; or ``torchvision:NAME`` or
            ``timm:NAME``, the pretrained weights of that network in that package, which may fetch them.
        classes: names of the classes in the order of the outputs; None takes the outputs as they are.
        seed: of fresh rows. Torch's global random generator is left as it was.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or does not fit; the model is unchanged.
        ImportError, ConnectionError: a package is not installed, or its weights cannot be fetched; likewise.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes or ()):
        raise TypeError("classes: expected the names of the classes, a sequence of str, or None")
    weights = file if isinstance(file, WeightFile) else read_weights(file)
    source = "weights" if isinstance(file, WeightFile) else f"weights {file}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if classes is None:
            return load_pretrained(model, weights, source)
        name = last_layer(model)
        before = None if name is None else model.get_submodule(name)
        try:
            replace_classifier(model, len(classes))
            return load_pretrained(model, weights, source, classes)
        except BaseException:
            if name is not None and before is not None:
                model.set_submodule(name, before)
            raise


def load_pretrained(
    model: nn.Module, weights: WeightFile, source: str = "weights", classes: Sequence[str] | None = None
) -> LoadedWeights:
    """As :func:`load_weights`, for a model that has the wanted number of outputs already.

    Args:
        model: changed in place.
        weights: from :func:`read_weights`.
        source: what messages call the file.
        classes: names of the classes; fresh rows for new ones are drawn from torch's generator.

    Raises:
        ValueError: names, shapes or kinds of numbers do not fit; the model is unchanged.
    """
    state = model.state_dict()
    own = {k: t for k, t in state.items() if isinstance(t, torch.Tensor)}
    where = locate(own, weights.tensors)
    _check_names(where, own, weights.tensors, source)
    given = {k: weights.tensors[name] for k, name in where.names.items()}
    _check_numbers(own, given, source)
    said = _describe(where, own, given)
    last, classifier, afresh = last_layer(model), "", False
    if last is not None and classes is not None:
        known = weights.metadata.get("classes")
        given, classifier, afresh = _for_classes(model, last, given, known, classes, source)
    different = [k for k, t in given.items() if t.shape != own[k].shape]
    if different and (last is None or not _only_classes_differ(different, last, own, given)):
        k = different[0]
        raise ValueError(
            f"{source}: {k} has shape {list(given[k].shape)}, the model expects {list(own[k].shape)}; "
            f"{len(different)} of {len(own)} shapes differ. Is it another width or another model?"
        )
    model.load_state_dict({**state, **{k: t for k, t in given.items() if k not in different}})
    return LoadedWeights(last if different or afresh else None, classifier, said)


def replace_classifier(model: nn.Module, classes: int) -> None:
    """Puts a freshly initialised last layer with ``classes`` outputs where another number is.

    Raises:
        ValueError: the model has no linear layer or convolution to replace.
    """
    name = last_layer(model)
    if name is None:
        raise ValueError(f"model: it has no linear layer or convolution that could tell {classes} classes apart")
    old = model.get_submodule(name)
    if len(old.weight) != classes:  # type: ignore[arg-type]
        model.set_submodule(name, fresh_layer(old, classes))


def usual_preprocess(weights: WeightFile, size: tuple[int, int]) -> Preprocess:
    """How the network that these weights come from wants its pictures.

    A file that sparsebp wrote says so itself. Otherwise: weights with the names of EfficientNet-Lite want pixels as
    (v - 127) / 128; weights whose batch norms are all folded away (statistics 0 and 1) come from Keras or TensorFlow
    Lite, which want pixels in [-1, 1]; the rest are taken for torchvision's, which want ImageNet's mean and standard
    deviation removed.
    """
    known = weights.metadata.get("preprocess")
    if known is not None:
        return Preprocess.from_dict({**known, "size": list(size)})
    lite = is_efficientnet_lite(weights.tensors)
    if lite or _norms_are_folded(weights.tensors):
        return Preprocess(size, range=PIXELS if lite else (-1.0, 1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
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


def fresh_layer(old: nn.Module, outputs: int) -> nn.Linear | nn.Conv2d:
    """A layer like ``old``, which is linear or a convolution, with ``outputs`` rows of fresh values."""
    new: nn.Linear | nn.Conv2d
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, outputs, bias=old.bias is not None)
    else:
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(
            old.in_channels,
            outputs,
            old.kernel_size,  # type: ignore[arg-type]
            old.stride,  # type: ignore[arg-type]
            old.padding,  # type: ignore[arg-type]
            old.dilation,  # type: ignore[arg-type]
            old.groups,
            old.bias is not None,
            old.padding_mode,
        )
    return new.to(old.weight.device, old.weight.dtype).train(old.training)


def _for_classes(
    model: nn.Module,
    last: str,
    given: dict[str, torch.Tensor],
    known: Sequence[str] | None,
    classes: Sequence[str],
    source: str,
) -> tuple[dict[str, torch.Tensor], str, bool]:
    """The weights with the last layer's rows where ``classes`` wants them, what became of them, and whether all are
    fresh. Without names that tell, they are left as they are."""
    layer, names = model.get_submodule(last), [k for k in (f"{last}.weight", f"{last}.bias") if k in given]
    if not names:
        raise ValueError(f"model: {last} has no weight of its own that could be loaded, as if it were parametrised")
    rows, outputs = given[names[0]].shape[:1].numel(), len(layer.weight)  # type: ignore[arg-type]
    if outputs != len(classes):
        raise ValueError(f"classes: {last} of the model has {outputs} outputs, got {len(classes)} names")
    matched = match_classes(known, classes) if known is not None else None
    if known is None or matched is None:
        unnamed = "name no classes" if known is None else "call several classes the same"
        if rows != outputs:
            return given, f"{last} starts afresh: the weights {unnamed}, and were made for {rows}", False
        taken = f"its {rows} outputs are taken for {shortened(classes)}, in this order"
        return given, f"{last} goes on: the weights {unnamed}; {taken}", False
    own = {name: getattr(layer, name.rpartition(".")[2]) for name in names}
    if any(given[k].shape[:1].numel() != rows or not _alike_but_for_rows(given[k], own[k]) for k in names):
        return given, "", False  # their shapes do not fit, which is said elsewhere
    if rows != len(known):
        raise ValueError(f"{source}: they name {len(known)} classes, but {last} has {rows} outputs")
    if None not in matched.rows:
        fresh = given
    else:
        layer_state = fresh_layer(layer, outputs).state_dict()
        fresh = {name: layer_state[name.removeprefix(f"{last}.")] for name in names}
    afresh = all(row is None for row in matched.rows)
    how = "starts afresh" if afresh else "goes on by name"
    moved = {name: _rows(given[name], fresh[name], matched.rows) for name in names}
    return {**given, **moved}, f"{last} {how}: {matched.text}", afresh


def _rows(given: torch.Tensor, fresh: torch.Tensor, rows: Sequence[int | None]) -> torch.Tensor:
    """For each of ``rows``, that row of ``given``; for None, the one of ``fresh`` in its place."""
    given = given.to(fresh)
    return torch.stack([fresh[i] if row is None else given[row] for i, row in enumerate(rows)])


def _check_names(where: Location, own: State, given: State, source: str) -> None:
    said = []
    if where.missing:
        said.append(f"they lack {shortened(where.missing, 1)}")
    if where.unexpected:
        said.append(f"the model does not know {shortened(where.unexpected, 1)}")
    if said:
        raise ValueError(
            f"{source}: found {shortened(given)}; expected {shortened(own)}, perhaps behind one prefix; they belong to "
            f"another model: {', '.join(said)}"
        )


def _check_numbers(own: State, given: State, source: str) -> None:
    for name, tensor in given.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
            raise ValueError(f"{source}: {name} is a meta, sparse or quantised tensor ({kind}); expected plain numbers")
        if own[name].is_floating_point() and not tensor.is_floating_point():
            raise ValueError(f"{source}: {name} holds {kind}; expected floating-point numbers")
    bad = not_finite(given)
    if bad is not None:
        raise ValueError(f"{source}: {bad} holds numbers that are not finite")


def _describe(where: Location, own: State, given: State) -> str:
    pairs = [(given[name].dtype, own[name].dtype) for name in given if own[name].is_floating_point()]
    changes = dict.fromkeys(f"{a} becomes {b}".replace("torch.", "") for a, b in pairs if a != b)
    return ", ".join(part for part in (where.describe(), *changes) if part)


def _only_classes_differ(different: list[str], last: str, own: State, given: State) -> bool:
    names = {f"{last}.weight", f"{last}.bias"}
    return set(different) <= names and all(_alike_but_for_rows(own[k], given[k]) for k in different)


def _alike_but_for_rows(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dim() == b.dim() > 0 and a.shape[1:] == b.shape[1:]
