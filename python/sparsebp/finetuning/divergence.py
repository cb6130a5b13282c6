"""When a run has diverged, and what to say of it."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..distributed import Ranks
from ..distributed.alone import Alone
from ..errors import TrainingDiverged
from ..networks.weight_files import not_finite
from ..training.learning_rules import last_layer
from ..training.sparse_model import SparseModel
from .history import Position
from .settings import Settings

_TIMES = 20
_GROWTH = 100
"""Times its norm at the beginning, for the weights of a convolution: what was learned before is gone."""
_FAR = 10
"""Times the loss of knowing nothing."""
_RUNNING = 30.0
"""One picture may well cost so much, a probability of 1e-13 for its class; an average over some fifty batches does not,
in any run that goes on to learn."""
_NOW = 103.0
"""Of this probability float32 makes zero."""


class Watch:
    """Notices that a run diverges, before a good checkpoint is replaced by one of what it came to.

    Bounds are at least twenty times what the first batch cost before it was learned: weights may come with confident
    opinions about other classes.

    Args:
        model: that trains.
        settings: of the run.
        ranks: that share its batches.

    Attributes:
        first: the loss of the run's first batch, before any update; None until it is known.
    """

    def __init__(self, model: SparseModel, settings: Settings, ranks: Ranks | Alone) -> None:
        self._model = model
        self._ranks = ranks
        rates = {
            "lr": settings.rate_at(model.plan.update_ratio),
            "bias_lr": settings.rate_of_biases,
            "classifier_lr": settings.rate_of_classifier,
        }
        self._rates = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
        self._last = last_layer(model.original)
        self._begun = self._norms()
        self._after = 0.0
        self.first: float | None = None

    def bounded(self, loss: float) -> bool:
        """Whether a running loss is one that training comes back from."""
        return self._below(loss, _RUNNING)

    @torch.no_grad()
    def loss(self, x: torch.Tensor, labels: torch.Tensor, from_prefix: bool) -> float | None:
        """Of a batch, all ranks' parts of it, without learning from it; None if it is empty."""
        if len(labels) == 0:
            return self._ranks.mean(0.0, 0)
        self._model.eval()
        output = self._model.run_span(x) if from_prefix else self._model(x)
        self._model.train()
        return self._ranks.mean(cross_entropy(output, labels).item(), len(labels))

    def look_again(self, x: torch.Tensor, labels: torch.Tensor, from_prefix: bool) -> None:
        """Tests a batch that was just trained: its update may spoil what no loss has shown yet."""
        self._after = self.loss(x, labels, from_prefix) or 0.0

    @property
    def spoilt(self) -> bool:
        """Whether :meth:`look_again` found the loss beyond what a running loss may be."""
        return not self._below(self._after, _RUNNING)

    def lost(self, test: float) -> bool:
        """Whether an epoch ends with a network that is worthless, by its loss on all test pictures."""
        return not math.isfinite(test) or not (self._below(test, _NOW) or self._below(self._after, _NOW))

    def learned_nothing(self, running: float, classes: int) -> bool:
        """Whether a run that ends with a network to which all pictures look the same has this to blame."""
        return running > _FAR * max(math.log(max(classes, 2)), self.first or 0.0)

    def _below(self, loss: float, bound: float) -> bool:
        return loss <= max(bound, _TIMES * (self.first or 0.0))

    def broken_weight(self) -> str | None:
        """What is wrong with a parameter: it is not finite, or a convolution's that grew beyond all measure.

        The loss need not show either, as ReLU6 bounds what comes of it.
        """
        bad = not_finite({name: p.detach() for name, p in self._model.named_parameters()})
        if bad is not None:
            return f"{bad} is not finite"
        for name, norm in self._norms().items():
            if norm > _GROWTH * self._begun[name] > 0:
                return f"{name} has grown {norm / self._begun[name]:.0f} times as large"
        return None

    def _norms(self) -> dict[str, float]:
        layers = ((n, m.weight.detach()) for n, m in self._model.named_modules() if isinstance(m, nn.Conv2d))
        return {f"{name}.weight": weight.norm().item() for name, weight in layers if name != self._last}

    def error(self, what: str, loss: float, position: Position, checkpoint: Path | None) -> TrainingDiverged:
        """What to raise.

        Args:
            what: is wrong, in words.
            loss: as it is now; a NaN if it is not known.
            position: after the step.
            checkpoint: the last one from before.
        """
        epoch = position.epoch + 1
        where = f"training diverged in epoch {epoch}, step {position.step}: {what}"
        if self.first is None:
            advice = (
                ", and nothing was learned yet; do these weights belong to the model, and are the pixels scaled as "
                "they want them (preprocess, --range)?"
            )
        else:
            kept = f"; {checkpoint / 'weights.safetensors'} is from before" if checkpoint else ""
            advice = (
                f"; it began at {self.first:.4g}. Choose smaller learning rates, a third of {self._rates} or less, and "
                f"another folder{kept}"
            )
        return TrainingDiverged(where + advice, epoch, position.step, loss, checkpoint)
