"""sparsebp: fine-tune convolutional networks inside a byte budget."""

from . import data, functional, models, nn, optim, samplers
from .audit import Audit, audit
from .convert import convert, explain, min_budget, plan, restore
from .converted import SparseModel
from .errors import BudgetExceeded, DeviceError, DeviceMemoryError, TrainingDiverged, UnsupportedModel
from .finetuning import FineTuned, Interrupted, Observer, finetune
from .graphed import GraphedStep
from .model_weights import LoadedWeights, load_weights
from .plan import Plan
from .pruning import prune
from .resizing import resize_like
from .train import fit_step
from .version import __version__

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
    "SparseModel",
    "TrainingDiverged",
    "UnsupportedModel",
    "__version__",
    "audit",
    "convert",
    "data",
    "explain",
    "finetune",
    "fit_step",
    "functional",
    "load_weights",
    "min_budget",
    "models",
    "nn",
    "optim",
    "plan",
    "prune",
    "resize_like",
    "restore",
    "samplers",
]
