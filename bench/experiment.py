"""What an experiment is: one configuration, and the pictures that it takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TRAIN, HELD_OUT = 15_000, 5_000
"""Pictures of a sweep: the first of the training set to learn from, the last to be judged by."""


@dataclass(frozen=True)
class Experiment:
    """One configuration.

    Attributes:
        name: ``group/variant``.
        what: its row's title in a table.
        settings: keywords of :func:`sparsebp.finetune`.
        sweep: whether it learns from a part of the training set and is judged by another.
        seeds: how many runs a full measurement takes.
        prune: share of the channels that is cut away before; 0 for none.
        prune_by: how many training pictures say which; 0 leaves it to the weights.
        recipe: whether ``finetune`` chooses the settings that are not given.
        take: of how many training pictures it learns, another part for each seed, or of how many of each class, drawn
            by the seed (None for all of one); 0 for all.
        judges: how many test pictures, the first, it is judged by; 0 for all.
        network: one of :mod:`sparsebp.models`.
    """

    name: str
    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    sweep: bool = True
    seeds: int = 1
    prune: float = 0.0
    prune_by: int = 0
    recipe: bool = False
    take: int | tuple[int | None, ...] = 0
    judges: int = 0
    network: str = "mobilenet_v2"

    @property
    def pictures(self) -> str:
        """Which pictures it learns from and is judged by, in words."""
        if self.take:
            sizes = [self.take] if isinstance(self.take, int) else self.take
            return f"{' + '.join('all' if n is None else f'{n:,}' for n in sizes)}, test set"
        return f"{TRAIN:,}, {HELD_OUT:,} held out" if self.sweep else "all, test set"

    @property
    def group(self) -> str:
        """The question that it belongs to."""
        return self.name.partition("/")[0]

    def identity(self, seed: int, data: str) -> str:
        """A digest of everything that the result depends on but the software; equal for equal runs."""
        pruned = [self.prune, self.prune_by] if self.prune_by else self.prune
        facts = [dict(self.settings), self.sweep and [TRAIN, HELD_OUT], pruned, seed, data]
        if self.recipe or self.take:
            facts.append([self.recipe, self.take, self.judges])
        if self.network != "mobilenet_v2":
            facts.append(self.network)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
