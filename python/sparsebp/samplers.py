"""Which channels train, and when.

A sampler is seeded and keeps no state of its own: draw number ``turn`` of a layer is a pure function of
seed, layer and turn (and of the running gradient norms, where it looks at them), so that a checkpoint
needs only the turn. Norms live in the arena, 4 bytes a channel.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np

from . import _C
from .units import check_seed

__all__ = ["Cyclic", "Importance", "Random", "Sampler", "Static", "TopK", "resolve"]


class Sampler:
    """Base class; override :meth:`select` for a policy of your own.

    Args:
        seed: of every draw. ``None`` takes the seed given to ``convert``.
    """

    #: Whether the plan must reserve a running gradient norm per channel.
    needs_scores = False

    def __init__(self, seed: int | None = None) -> None:
        self.seed = None if seed is None else check_seed(seed)

    def select(self, name: str, channels: int, count: int, turn: int) -> Sequence[int]:
        """``count`` different channels out of ``range(channels)`` for draw number ``turn`` of a layer."""
        raise TypeError(f"{type(self).__name__} must define select(name, channels, count, turn)")

    def draw(self, program: _C.Program, layer: int, spec: _C.LayerSpec, turn: int) -> None:
        """Writes the update set of one layer into the program."""
        chosen = self.select(spec.name, getattr(spec.shape, "in"), spec.selected, turn)
        program.set_indices(layer, [int(c) for c in chosen])

    def draw_all(self, program: _C.Program, specs: Sequence[_C.LayerSpec], turn: int) -> None:
        """Writes the update sets of all layers that do not train every channel anyway."""
        for layer, spec in enumerate(specs):
            if 0 < spec.selected < getattr(spec.shape, "in"):
                self.draw(program, layer, spec, turn)

    def __repr__(self) -> str:
        # All that a policy is made of: checkpoints tell samplers apart by it.
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class _Native(Sampler):
    _method: _C.Draw

    def draw(self, program: _C.Program, layer: int, spec: _C.LayerSpec, turn: int) -> None:
        if type(self).select is not Sampler.select:  # a policy of the user's own
            super().draw(program, layer, spec, turn)
        else:
            program.draw(layer, self._method, self.seed or 0, turn)

    def draw_all(self, program: _C.Program, specs: Sequence[_C.LayerSpec], turn: int) -> None:
        if type(self).draw is _Native.draw and type(self).select is Sampler.select:
            program.draw_all(self._method, self.seed or 0, turn)
        else:
            super().draw_all(program, specs, turn)


class Random(_Native):
    """Uniform without replacement, anew at every draw (the paper's rule)."""

    _method = _C.Draw.uniform


class Cyclic(_Native):
    """Shuffled rounds: every channel once a round; a round's last set is filled from its beginning."""

    _method = _C.Draw.cyclic


class Importance(_Native):
    """At random, proportionally to the running gradient norm; channels not seen yet count as the largest."""

    _method = _C.Draw.weighted
    needs_scores = True


class TopK(_Native):
    """The largest running gradient norms; channels not seen yet come first."""

    _method = _C.Draw.largest
    needs_scores = True


class Static(Sampler):
    """One set for ever: drawn at random once, or given as ``{layer name: channels}``."""

    def __init__(self, seed: int | None = None, channels: Mapping[str, Sequence[int]] | None = None) -> None:
        super().__init__(seed)
        self.channels = {k: list(v) for k, v in channels.items()} if channels else {}

    def draw_all(self, program: _C.Program, specs: Sequence[_C.LayerSpec], turn: int) -> None:
        names = [spec.name for spec in specs]
        unknown = next((name for name in self.channels if name not in names), None)
        if unknown is not None:
            raise ValueError(f"sampler: Static has channels of {unknown!r}, expected layers among {', '.join(names)}")
        super().draw_all(program, specs, turn)

    def draw(self, program: _C.Program, layer: int, spec: _C.LayerSpec, turn: int) -> None:
        if turn > 0:
            return
        if spec.name in self.channels:
            program.set_indices(layer, self.channels[spec.name])
        else:
            program.draw(layer, _C.Draw.uniform, self.seed or 0, 0)


NAMES: dict[str, type[Sampler]] = {
    "random": Random,
    "cyclic": Cyclic,
    "importance": Importance,
    "top-k": TopK,
    "static": Static,
}


def resolve(sampler: str | Sampler, seed: int) -> Sampler:
    """The sampler meant by a name, or the given one; without a seed of its own, a copy that has ``seed``.

    Raises:
        TypeError, ValueError: neither a known name nor a sampler.
    """
    check_seed(seed)
    if isinstance(sampler, str):
        if sampler not in NAMES:
            raise ValueError(f"sampler: expected one of {', '.join(NAMES)} or a Sampler, got {sampler!r}")
        return NAMES[sampler](seed)
    if not isinstance(sampler, Sampler):
        raise TypeError(f"sampler: expected a name or a sparsebp.samplers.Sampler, got {type(sampler).__name__}")
    if sampler.seed is None:
        sampler = copy.copy(sampler)
        sampler.seed = seed
    return sampler


def check_update_sets(specs: Sequence[_C.LayerSpec], indices: np.ndarray) -> None:
    """Native code trusts the update sets: what comes from a file is looked at first."""
    at = 0
    for spec in specs:
        channels = getattr(spec.shape, "in")
        if not 0 < spec.selected < channels:
            continue
        own = indices[at : at + spec.selected]
        at += spec.selected
        if len(np.unique(own)) < spec.selected or own.min() < 0 or own.max() >= channels:
            raise ValueError(f"state: {spec.name}: expected {spec.selected} different channels below {channels}")
