"""What a run tells while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data import BrokenPicture
from ..networks.pretrained import LoadedWeights
from ..planning.plan import Plan
from .history import Epoch, Kept, Position
from .order import Change
from .recipe import Choice
from .settings import Settings


class Observer:
    """Told what happens in a run; override what is of interest. Every method does nothing by default."""

    def loaded(self, weights: LoadedWeights) -> None:
        """A file of weights was loaded into the model; ``weights`` says what became of its classes."""

    def chosen(self, choices: Sequence[Choice], few: Mapping[str, int]) -> None:
        """A run begins with these settings; ``few`` are the sizes of the classes that have too few pictures."""

    def settled(self, settings: Settings) -> None:
        """These are the settings, all of them: given, chosen, or those that a resumed run began with."""

    def planned(self, plan: Plan, start: Position) -> None:
        """The model is converted; ``start`` is where training begins, which is later when a run is resumed."""

    def changed(self, change: Change) -> None:
        """A run goes on with other pictures than it was stopped with."""

    def caching(self, done: int, total: int, size: int, where: str) -> None:
        """``done`` of ``total`` pictures went through the frozen prefix; all take ``size`` bytes in ``where``."""

    def stepped(self, position: Position, loss: float, images: int) -> None:
        """A batch of ``images`` was trained; ``loss`` is the smoothed training loss."""

    def evaluating(self, done: int, total: int) -> None:
        """``done`` of ``total`` test pictures were classified."""

    def epoch_ended(self, epoch: Epoch) -> None:
        """An epoch was trained and evaluated."""

    def ended(self, kept: Kept | None, early: bool) -> None:
        """Training is over, ``early`` for want of patience, with ``kept``, or None for the last epoch."""

    def saved(self, path: Path) -> None:
        """A checkpoint was written."""

    def skipped(self, picture: BrokenPicture) -> None:
        """A picture could not be read and is left out; told once a picture."""
