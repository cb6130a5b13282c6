"""Training and prediction from plan files, with numpy and without torch: ``sparsebp.runtime`` under another name."""

from __future__ import annotations

from .errors import BudgetExceeded, PlanFileError, TrainingDiverged
from .runtime import *  # noqa: F403
from .runtime import __all__ as _runtime
from .version import __version__

__all__ = ["BudgetExceeded", "PlanFileError", "TrainingDiverged", "__version__", *_runtime]
