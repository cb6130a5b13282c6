"""Training and prediction from plan files, with numpy and without torch: ``sparsebp.runtime`` under another name."""

from __future__ import annotations

from typing import Any

from . import runtime
from .errors import BudgetExceeded, PlanFileError, TrainingDiverged
from .version import __version__

__all__ = ["BudgetExceeded", "PlanFileError", "TrainingDiverged", "__version__", *runtime.__all__]


def __getattr__(name: str) -> Any:
    if name not in runtime.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(runtime, name)  # which loads some of it only now


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
