"""A model with its weights, and how they want their pictures, as the command line asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Preprocess
from ..finetuning import demo
from ..networks.names import KNOWN, build_model
from ..networks.pretrained import (
    LoadedWeights,
    WeightFile,
    load_pretrained,
    read_weights,
    replace_classifier,
    usual_preprocess,
)
from ..networks.zoos import is_zoo_name
from .pixel_values import parse_range, parse_triple


@dataclass(frozen=True)
class Pretrained:
    """A network ready to train or to test.

    Attributes:
        model: with its weights.
        weights: the file that they came from; its own ``state_dict`` without one.
        loaded: what loading that file did.
    """

    model: nn.Module
    weights: WeightFile
    loaded: LoadedWeights

    @property
    def fresh(self) -> str | None:
        """The layer that starts afresh because the weights have other classes."""
        return self.loaded.fresh

    @property
    def said(self) -> list[tuple[str, str]]:
        """What there is to say of the weights, as rows of a heading."""
        rows = [("weights", self.loaded.source), ("classifier", self.loaded.classifier)]
        return [(name, text) for name, text in rows if text]


def load(
    name: str, file: Path | None, classes: Sequence[str] | int, seed: int = 0, weights: WeightFile | None = None
) -> Pretrained:
    """Builds the model called ``name`` for these classes, or so many, and loads ``file`` into it, unless that was read
    already, as ``weights``.

    Raises:
        ValueError, TypeError, FileNotFoundError: a name or a file cannot be used.
    """
    if file is None and (name in KNOWN or is_zoo_name(name)):
        source = name if is_zoo_name(name) else "torchvision:mobilenet_v2" if name == "mobilenet_v2" else None
        also = f", or --weights {source}" if source is not None else ""
        raise ValueError(f"--weights is missing: {name} comes without; give a .pt or .safetensors file{also}")
    if weights is None and file is not None:
        weights = read_weights(file)
    names, count = (None, classes) if isinstance(classes, int) else (classes, len(classes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = demo.architecture() if name == demo.MODEL else build_model(name, count)
        replace_classifier(model, count)
        if weights is None:
            return Pretrained(model.eval(), WeightFile(dict(model.state_dict()), {}), LoadedWeights(None, "", ""))
        loaded = load_pretrained(model, weights, f"--weights {file}", names)
    return Pretrained(model.eval(), weights, loaded)


def network_of(metadata: Mapping[str, Any], otherwise: str) -> str:
    """The network that weights say they are for, if it is one that everybody has; no file names code to be run."""
    name = metadata.get("model")
    return name if isinstance(name, str) and (name in KNOWN or is_zoo_name(name)) else otherwise


def preprocess_for(
    weights: WeightFile,
    size: tuple[int, int],
    known: Preprocess | None = None,
    *,
    range_: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    resize: str | None = None,
    filter_: str | None = None,
) -> Preprocess:
    """How pictures become input: as known of a run, or as the weights usually want it; given options win.

    A range given without mean and std is all there is: they were meant for another one.
    """
    chosen: dict[str, Any] = {}
    if range_ is not None:
        chosen |= {"range": parse_range(range_), "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    if mean is not None or std is not None:
        chosen.setdefault("range", (0.0, 1.0))
    if mean is not None:
        chosen["mean"] = parse_triple(mean)
    if std is not None:
        chosen["std"] = parse_triple(std)
    if resize is not None:
        chosen["resize"] = resize
    if filter_ is not None:
        chosen["filter"] = filter_
    return replace(known or usual_preprocess(weights, size), **chosen)


def describe(preprocess: Preprocess) -> str:
    """In a line, for people."""
    (height, width), (low, high) = preprocess.size, preprocess.range
    text = f"{height}x{width}, {preprocess.resize}, {preprocess.filter}, pixels {low:g} to {high:g}"
    if preprocess.mean != (0.0, 0.0, 0.0):
        text += f", less {', '.join(f'{v:g}' for v in preprocess.mean)}"
    if preprocess.std != (1.0, 1.0, 1.0):
        text += f", by {', '.join(f'{v:g}' for v in preprocess.std)}"
    return text
