"""sparsebp: fine-tune convolutional networks inside a byte budget."""

from . import functional, models, nn, optim, samplers
from .audit import Audit, audit
from .convert import convert, min_budget, plan, restore
from .converted import SparseModel
from .errors import BudgetExceeded, UnsupportedModel
from .plan import Plan
from .train import fit_step

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "BudgetExceeded",
    "Plan",
    "SparseModel",
    "UnsupportedModel",
    "audit",
    "convert",
    "fit_step",
    "functional",
    "min_budget",
    "models",
    "nn",
    "optim",
    "plan",
    "restore",
    "samplers",
]
