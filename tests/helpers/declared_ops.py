"""torchvision and timm, importable beside a build of torch for which torchvision's compiled ops do not load."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path

import torch

_OPS = torch.library.Library("torchvision", "FRAGMENT")


def _declare_ops() -> None:
    """The networks need only the names of the ops."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).with_name("_meta_registrations.py").read_text()
    for name in sorted(set(re.findall(r'(?:register_meta\("|torchvision::)(\w+)"', text))):
        if not hasattr(torch.ops.torchvision, name):
            _OPS.define(f"{name}(Tensor x) -> Tensor")


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _declare_ops()
    import timm
    import torchvision

__all__ = ["timm", "torchvision"]
