"""timm's networks and weights, by timm's own names for them, with a tag behind a dot or without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import nn

from ..data import Preprocess
from .suggestion import suggestion

#: Names that timm looks up elsewhere, on the Hugging Face hub or on the disk.
_ELSEWHERE = ("hf-hub:", "hf_hub:", "local-dir:")


def builder(name: str) -> Callable[..., nn.Module]:
    """See :class:`.zoos.Zoo`."""
    if not name.startswith(_ELSEWHERE) and not timm.is_model(name):
        close = suggestion(name, timm.list_models(), 3)
        raise ValueError(f"model: timm has no network called {name!r}{close}")
    return partial(timm.create_model, name, pretrained=False)


def weights(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """See :class:`.zoos.Zoo`."""
    if not name.startswith(_ELSEWHERE) and not timm.models.is_model_pretrained(name):
        close = suggestion(name, (*timm.list_pretrained(), *timm.list_models()), 3)
        raise ValueError(f"weights: timm has none called {name!r}{close}")
    model = timm.create_model(name, pretrained=True)
    config = model.pretrained_cfg
    where = config.get("hf_hub_id") or config.get("url") or "timm"
    about = {
        "model": f"timm:{name}",
        "source": f"timm:{name}, {where}",
        "preprocess": _preprocess(timm.data.resolve_model_data_config(model)).to_dict(),
    }
    classes = _classes(model)
    return dict(model.state_dict()), {**about, **({} if classes is None else {"classes": classes})}


def _preprocess(config: dict[str, Any]) -> Preprocess:
    _, height, width = config["input_size"]
    return Preprocess((height, width), mean=config["mean"], std=config["std"], filter=config["interpolation"])


def _classes(model: nn.Module) -> list[str] | None:
    """ImageNet's names where the outputs are ImageNet's; of two alike the second gets a number."""
    subset = timm.data.infer_imagenet_subset(model)
    if subset is None:
        return None
    info, seen, names = timm.data.ImageNetInfo(subset), Counter[str](), []
    for index in range(info.num_classes()):
        name = info.index_to_description(index)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names
