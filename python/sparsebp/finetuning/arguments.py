"""What ``finetune`` is given besides settings, checked."""

from __future__ import annotations

import torch
from torch import nn

from ..data import Dataset
from ..networks.weight_files import not_finite
from .behind_prefix import forms
from .cache import CHOICES, PLACES
from .settings import Settings


def check_options(checkpoint_every: int, workers: int, cache: str | None, settings: Settings) -> None:
    """Raises ValueError unless these are numbers of a run, and the cache goes with its settings."""
    for name, value, least in (("checkpoint_every", checkpoint_every, 1), ("workers", workers, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    if cache is not None and cache not in CHOICES:
        raise ValueError(f"cache: expected {', '.join(CHOICES)} or None, got {cache!r}")
    if cache in PLACES and forms(settings.augment) is None:
        raise ValueError(
            f"cache: with augment={','.join(settings.augment)} a picture is never the same twice; only flip, "
            "slide and erase go with a cache"
        )


def check_model(model: nn.Module) -> None:
    """Raises TypeError or ValueError unless it is a float32 module with finite weights."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    other = next((n for n, p in model.named_parameters() if p.dtype != torch.float32), None)
    if other is not None:
        raise TypeError(f"model: pictures become float32, but {other} is {model.get_parameter(other).dtype}")
    bad = not_finite({name: p.detach() for name, p in model.named_parameters()})
    if bad is not None:
        raise ValueError(f"model: {bad} holds numbers that are not finite")


def check_data(dataset: Dataset) -> None:
    """Raises ValueError unless there is something to learn from and to test with, of known classes."""
    for title, source in (("training", dataset.train), ("test", dataset.test)):
        if len(source) == 0:
            raise ValueError(f"data: there is no {title} picture")
        if int(source.labels.min()) < 0 or int(source.labels.max()) >= len(dataset.classes):
            raise ValueError(
                f"data: expected labels 0 to {len(dataset.classes) - 1} for {len(dataset.classes)} classes, got "
                f"{int(source.labels.min())} to {int(source.labels.max())} in the {title} set"
            )
