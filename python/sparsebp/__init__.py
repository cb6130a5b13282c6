"""sparsebp: fine-tune convolutional networks inside a byte budget.

Importing the package imports no torch: :mod:`sparsebp.runtime` trains plan files without it. What needs torch is loaded
when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

try:
    from . import _C
except ImportError as error:
    raise ImportError(f"sparsebp: its native module cannot be loaded ({error}); build it: pip install .") from error

from .errors import BudgetExceeded, DeviceError, DeviceMemoryError, PlanFileError, TrainingDiverged, UnsupportedModel
from .version import __version__

_STALE = (
    f"{_C.__file__}: this native module was built from other sources than the Python files beside it, which are "
    f"sparsebp {__version__}; build it anew: pip install ."
)
if getattr(_C, "__version__", None) != __version__:
    raise ImportError(_STALE, name=_C.__name__, path=_C.__file__)

#: Where each name is; ``__init__.pyi`` says the same to type checkers.
_NAMES = {
    **dict.fromkeys(("Audit", "audit"), "training.audit"),
    **dict.fromkeys(("convert", "explain", "min_budget", "plan", "restore"), "training.convert"),
    "export": "training.export",
    "export_onnx": "training.onnx_file",
    "load_file": "training.plan_file",
    **dict.fromkeys(("FineTuned", "Interrupted", "Observer", "finetune", "load"), "finetuning"),
    **dict.fromkeys(("LoadedWeights", "load_weights"), "networks.pretrained"),
    "SparseModel": "training.sparse_model",
    "GraphedStep": "training.graphed_step",
    "Plan": "planning.plan",
    "prune": "networks.pruning",
    "resize_like": "networks.resizing",
    "widen": "networks.widening",
    "fit_step": "training.fit_step",
}
_MODULES = ("data", "distributed", "federated", "functional", "models", "nn", "optim", "runtime", "samplers")

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
    "distributed",
    "explain",
    "export",
    "export_onnx",
    "federated",
    "finetune",
    "fit_step",
    "functional",
    "load",
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
    "widen",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_NAMES[name]}", __name__)
    except (AttributeError, ImportError) as error:
        lacking = getattr(error, "obj", None)  # what has no such attribute: the native module, or a class of it
        if _C.__name__ in (error.name, getattr(lacking, "__name__", None), getattr(lacking, "__module__", None)):
            raise ImportError(_STALE, name=_C.__name__, path=_C.__file__) from error
        raise
    found = globals()[name] = getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
