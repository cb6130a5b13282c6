"""Training on several machines: each takes its part of every batch, and what they exchange is what a step trains."""

from __future__ import annotations

from ..errors import RankFailed, RanksDiffer
from .data_parallel import DataParallel
from .ranks import Ranks, join, launched
from .shard import Shard
from .traffic import Traffic

__all__ = ["DataParallel", "RankFailed", "Ranks", "RanksDiffer", "Shard", "Traffic", "join", "launched"]
