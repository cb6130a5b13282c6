"""Networks and weights that other packages bring, by name: ``torchvision:mobilenet_v2``, ``timm:NAME``.

What they need is the package, and for weights that were not fetched before a machine that is online.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

if TYPE_CHECKING:
    import torch

#: The packages.
ZOOS = ("torchvision", "timm")


class Zoo(Protocol):
    """What a module for a package has."""

    def builder(self, name: str) -> Callable[..., nn.Module]:
        """The function that makes the network ``name``, without weights; takes ``num_classes``."""

    def weights(self, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Weights by name, and what is known of them, as files of weights say it; fetches them, or raises OSError or
        RuntimeError."""


def is_zoo_name(name: str | Path) -> bool:
    """Whether ``name`` stands for something in another package; a file of this name comes first."""
    package, colon, _ = str(name).partition(":")
    return bool(colon) and package in ZOOS and not Path(name).exists()


def zoo_builder(name: str) -> Callable[..., nn.Module]:
    """The function that makes the network called ``name``, as ``timm:mobilenetv3_small_050``.

    Raises:
        ImportError: its package is not installed.
        ValueError: the package has no such network.
    """
    zoo, inside = _find(name, "model")
    return zoo.builder(inside)


def zoo_weights(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights called ``name``, and of them ``model``, ``preprocess``, ``source`` and, if known, ``classes``.

    Raises:
        ImportError: their package is not installed.
        ValueError: the package has no such weights.
        ConnectionError: they cannot be fetched.
    """
    zoo, inside = _find(name, "weights")
    try:
        return zoo.weights(inside)
    except (OSError, RuntimeError) as error:  # no way there, or a file that is not what it should be
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConnectionError(
            f"weights: {name} cannot be fetched: {why}; once fetched, on a machine that is online, they are kept, or "
            "give a file"
        ) from error


def _find(name: str, argument: str) -> tuple[Zoo, str]:
    package, _, inside = name.partition(":")
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(
            f"{argument}: {name} comes from {package}, which is not installed: pip install {package}"
        ) from None
    except (ImportError, RuntimeError) as error:  # torchvision beside a torch that it was not built for
        raise ImportError(f"{argument}: {name} comes from {package}, which cannot be imported: {error}") from error
    return _zoo(package), inside


def _zoo(package: str) -> Zoo:
    if package == "timm":
        from . import timm_zoo

        return timm_zoo
    from . import torchvision_zoo

    return torchvision_zoo
