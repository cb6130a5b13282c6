"""Accuracy on a set of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from ..distributed import Ranks
from ..distributed.alone import Alone
from .confusion import Confusion, count

TOP = 5


@dataclass(frozen=True)
class Evaluation:
    """How well a model classifies.

    Attributes:
        counts: pictures by their class and what they were taken for, int64 [classes, classes].
        top5: pictures whose label was among the five most likely; None with fewer than six classes.
        loss: mean cross entropy.
    """

    counts: torch.Tensor
    top5: int | None
    loss: float

    @property
    def correct(self) -> torch.Tensor:
        """Pictures of each class that got their label, int64 [classes]."""
        return self.counts.diagonal()

    @property
    def pictures(self) -> torch.Tensor:
        """Pictures of each class, int64 [classes]."""
        return self.counts.sum(1)

    @property
    def total(self) -> int:
        """Pictures in all."""
        return int(self.counts.sum())

    @property
    def collapsed(self) -> bool:
        """Whether one class got all of its pictures right and every other none: as if all were taken for that one."""
        tested = self.pictures > 0
        return int(tested.sum()) > 1 and sorted((self.correct / self.pictures)[tested].tolist())[-2:] == [0.0, 1.0]

    @property
    def accuracy(self) -> float:
        """Share of the pictures that got their label."""
        return int(self.correct.sum()) / self.total

    def confusion(self, names: Sequence[str]) -> Confusion:
        """The counts by the names of the classes."""
        return Confusion(tuple(names), self.counts.numpy())

    def by_class(self, names: Sequence[str]) -> dict[str, dict[str, int]]:
        """Of each class how many pictures there were and how many of them got their label."""
        return self.confusion(names).by_class

    def untested(self, names: Sequence[str]) -> list[str]:
        """The classes of which there was no picture, so that the accuracy says nothing of them."""
        return [name for name, pictures in zip(names, self.pictures.tolist(), strict=True) if pictures == 0]


@torch.no_grad()
def score(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    logits: Callable[[torch.Tensor], torch.Tensor],
    classes: int,
    each: Callable[[int], None] = lambda done: None,
    seen: Callable[[torch.Tensor, torch.Tensor], None] = lambda output, labels: None,
    ranks: Ranks | Alone | None = None,
) -> Evaluation:
    """Counts what ``logits`` gets right.

    Args:
        batches: inputs and labels int64 [n]; empty ones are fine.
        logits: maps inputs to [n, classes]; the model behind it is in evaluation mode.
        classes: how many there are.
        each: called after every batch with the pictures done so far.
        seen: called with the logits and labels of every batch, on the CPU.
        ranks: each of which has a part of the pictures, and gets the result for all.

    Raises:
        ValueError: there is no picture, or the output has another number of classes.
    """
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    top, loss, done = 0, 0.0, 0
    for x, labels in batches:
        if len(labels) == 0:
            continue
        output, labels = logits(x).cpu(), labels.cpu()
        check_output(output, classes)
        counts += torch.from_numpy(count(labels.numpy(), output.argmax(1).numpy(), classes))
        loss += float(cross_entropy(output.double(), labels, reduction="sum"))
        if classes > TOP:
            top += int((output.topk(TOP, dim=1).indices == labels[:, None]).any(1).sum())
        seen(output, labels)
        done += len(labels)
        each(done)
    parts = (ranks or Alone()).gather((done, top, loss, counts))
    done, top, loss = sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts)
    if done == 0:
        raise ValueError("no picture could be read")
    return Evaluation(torch.stack([p[3] for p in parts]).sum(0), top if classes > TOP else None, loss / done)


def check_output(output: torch.Tensor, classes: int) -> None:
    """Raises ValueError unless a model's output is [n, classes]."""
    if output.dim() != 2 or output.shape[1] != classes:
        raise ValueError(
            f"model: expected an output of [n, {classes}], one number per class of the data, got "
            f"[n, {', '.join(map(str, output.shape[1:]))}]"
        )
