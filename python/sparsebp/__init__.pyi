"""sparsebp: fine-tune convolutional networks inside a byte budget."""

from . import data, distributed, federated, functional, models, nn, optim, runtime, samplers
from .errors import BudgetExceeded, DeviceError, DeviceMemoryError, PlanFileError, TrainingDiverged, UnsupportedModel
from .finetuning import FineTuned, Interrupted, Observer, finetune, load
from .networks.pretrained import LoadedWeights, load_weights
from .networks.pruning import prune
from .networks.resizing import resize_like
from .networks.widening import widen
from .planning.plan import Plan
from .training.audit import Audit, audit
from .training.convert import convert, explain, min_budget, plan, restore
from .training.export import export
from .training.fit_step import fit_step
from .training.graphed_step import GraphedStep
from .training.onnx_file import export_onnx
from .training.plan_file import load_file
from .training.sparse_model import SparseModel
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
