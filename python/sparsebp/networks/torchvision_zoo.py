"""torchvision's networks and weights, by torchvision's own names for them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision import models

from ..data import Preprocess
from .suggestion import suggestion

#: Networks that sparsebp defines too, name for name: what they become needs no torchvision.
_OURS = {"mobilenet_v2"}


def builder(name: str) -> Callable[..., nn.Module]:
    """See :class:`.zoos.Zoo`."""
    _check(name, "model")
    return partial(models.get_model, name, weights=None)


def weights(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """See :class:`.zoos.Zoo`; the best weights of a network, which torchvision calls its default."""
    _check(name, "weights")
    chosen: Any = models.get_model_weights(name).DEFAULT
    state = chosen.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    about = {
        "model": name if name in _OURS else f"torchvision:{name}",
        "source": f"torchvision:{name}, {chosen}, {chosen.url}",
        "preprocess": _preprocess(chosen.transforms()).to_dict(),
    }
    if "categories" in chosen.meta:
        about["classes"] = list(chosen.meta["categories"])
    return dict(state), about


def _check(name: str, argument: str) -> None:
    # Those for pictures alone: the others have a dot or a folder before their names.
    known = models.list_models(module=models)
    if name not in known:
        close = suggestion(name, known, 3)
        raise ValueError(f"{argument}: torchvision has no network for pictures called {name!r}{close}")


def _preprocess(transforms: Any) -> Preprocess:
    (side,) = transforms.crop_size
    return Preprocess(
        (side, side),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        filter=transforms.interpolation.value,
    )
