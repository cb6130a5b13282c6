"""Whole fine-tuning runs: :func:`sparsebp.finetune` and what it is made of."""

from ..runtime.stop import Interrupted
from .checkpoint import CheckpointError
from .confusion import Confusion
from .evaluation import Evaluation
from .history import Epoch, History, Kept, Position
from .loading import Classifier, load
from .loop import FineTuned, finetune
from .memory import MemoryReport
from .observer import Observer
from .order import Change
from .settings import Settings

__all__ = [
    "Change",
    "CheckpointError",
    "Classifier",
    "Confusion",
    "Epoch",
    "Evaluation",
    "FineTuned",
    "History",
    "Interrupted",
    "Kept",
    "MemoryReport",
    "Observer",
    "Position",
    "Settings",
    "finetune",
    "load",
]
