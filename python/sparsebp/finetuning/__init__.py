"""Whole fine-tuning runs: :func:`sparsebp.finetune` and what it is made of."""

from ..runtime.stop import Interrupted
from .checkpoint import CheckpointError
from .evaluation import Evaluation
from .history import Epoch, History, Kept, Position
from .loop import FineTuned, finetune
from .memory import MemoryReport
from .observer import Observer
from .order import Change
from .settings import Settings

__all__ = [
    "Change",
    "CheckpointError",
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
]
