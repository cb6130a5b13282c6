"""sparsebp: fine-tune convolutional networks inside a byte budget.

Importing the package imports no torch: :mod:`sparsebp.runtime` trains plan files without it. What needs torch is loaded
when it is first asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

from .errors import BudgetExceeded, DeviceError, DeviceMemoryError, PlanFileError, TrainingDiverged, UnsupportedModel
from .version import __version__

if TYPE_CHECKING:
    from . import data, functional, models, nn, optim, runtime, samplers
    from .audit import Audit, audit
    from .convert import convert, explain, min_budget, plan, restore
    from .converted import SparseModel
    from .export import export, load_file
    from .finetuning import FineTuned, Interrupted, Observer, finetune
    from .graphed import GraphedStep
    from .model_weights import LoadedWeights, load_weights
    from .plan import Plan
    from .pruning import prune
    from .resizing import resize_like
    from .train import fit_step

#: Where each name is.
_NAMES = {
    **dict.fromkeys(("Audit", "audit"), "audit"),
    **dict.fromkeys(("convert", "explain", "min_budget", "plan", "restore"), "convert"),
    **dict.fromkeys(("export", "load_file"), "export"),
    **dict.fromkeys(("FineTuned", "Interrupted", "Observer", "finetune"), "finetuning"),
    **dict.fromkeys(("LoadedWeights", "load_weights"), "model_weights"),
    "SparseModel": "converted",
    "GraphedStep": "graphed",
    "Plan": "plan",
    "prune": "pruning",
    "resize_like": "resizing",
    "fit_step": "train",
}
_MODULES = ("data", "functional", "models", "nn", "optim", "runtime", "samplers")

__all__ = [
    "Audit",
    "BudgetExceeded",
    "DeviceError",
    "DeviceMemoryError",
    "FineTuned",
    "GraphedStep",
    "Interrupted",
    "LoadedWeights",
    "Observer",
    "Plan",
    "PlanFileError",
    "SparseModel",
    "TrainingDiverged",
    "UnsupportedModel",
    "__version__",
    "audit",
    "convert",
    "data",
    "explain",
    "export",
    "finetune",
    "fit_step",
    "functional",
    "load_file",
    "load_weights",
    "min_budget",
    "models",
    "nn",
    "optim",
    "plan",
    "prune",
    "resize_like",
    "restore",
    "runtime",
    "samplers",
]


class _Package(types.ModuleType):
    """Some functions are called like the modules that they are in: those names mean the functions."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, types.ModuleType) and name in _NAMES):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f".{name}", self.__name__)
        if name not in _NAMES:
            if not name.startswith("_") and importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
                return importlib.import_module(f".{name}", self.__name__)
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f".{_NAMES[name]}", self.__name__), name)
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
