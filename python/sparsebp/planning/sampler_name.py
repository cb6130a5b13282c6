"""A sampler as a plan names it, so that the same draws can be made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..samplers import NAMES, Sampler, Static
from ..units import check_seed


@dataclass(frozen=True)
class SamplerName:
    """Who draws the channels.

    Attributes:
        name: a key of :data:`sparsebp.samplers.NAMES`, or the class of a sampler of one's own.
        seed: of its draws.
        scores: whether it looks at running gradient norms, for which the plan has to reserve memory.
        channels: the sets that a static sampler was given, by layer.
    """

    name: str
    seed: int
    scores: bool
    channels: dict[str, tuple[int, ...]] | None = field(default=None, hash=False)

    @classmethod
    def of(cls, sampler: Sampler) -> SamplerName:
        """The name of a sampler that has a seed."""
        kind = type(sampler)
        known = next((name for name, built_in in NAMES.items() if built_in is kind), None)
        given = sampler.channels if isinstance(sampler, Static) and sampler.channels else None
        return cls(
            known or f"{kind.__module__}.{kind.__qualname__}",
            sampler.seed or 0,
            bool(sampler.needs_scores),
            None if given is None else {layer: tuple(map(int, chosen)) for layer, chosen in given.items()},
        )

    def __str__(self) -> str:
        return f"{self.name} with seed {self.seed}" + (", of given channels" if self.channels is not None else "")

    def check(self, where: str) -> None:
        """Raises ValueError unless there can be such a sampler; for what comes from a file."""
        try:
            check_seed(self.seed)
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from error
        kind = NAMES.get(self.name)
        if kind is not None and self.scores != kind.needs_scores:
            raise ValueError(f"{where}.scores: of {self.name} expected {kind.needs_scores}, got {self.scores}")
        if self.channels is not None and kind not in (Static, None):
            raise ValueError(f"{where}.channels: {self.name} takes none")

    def make(self) -> Sampler:
        """Such a sampler.

        Raises:
            ValueError: it is one of the user's own, of which a plan knows no more than the name.
        """
        if self.name not in NAMES:
            raise ValueError(f"sampler: the plan was made for {self.name}, which is no part of sparsebp; give sampler=")
        if self.channels is not None:
            return Static(self.seed, self.channels)
        return NAMES[self.name](self.seed)
