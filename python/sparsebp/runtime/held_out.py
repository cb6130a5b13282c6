"""How well a session recognises pictures that it did not train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..data.broken import BrokenPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..data.sources import Source
    from .pictures import Reader
    from .session import Session


@dataclass(frozen=True)
class Accuracy:
    """Recognised pictures.

    Attributes:
        correct: so many were recognised,
        of: of so many that could be read.
        loss: their mean.
    """

    correct: int
    of: int
    loss: float

    def __str__(self) -> str:
        return (
            f"{100 * self.correct / self.of:.2f} % of {self.of:,} held-out pictures" if self.of else "nothing held out"
        )


def accuracy(
    session: Session,
    source: Source,
    labels: Sequence[int],
    reader: Reader,
    between: Callable[[], None],
    broken: Callable[[BrokenPicture], None],
) -> Accuracy:
    """Tests a session on all pictures of a source, one at a time; what cannot be read is left out.

    Args:
        session: the session; it does not change.
        source: the pictures.
        labels: what number each label of the source has in the session.
        reader: of pictures.
        between: is called before each picture, and may raise to stop.
        broken: is told of what cannot be read.
    """
    correct = count = 0
    loss = 0.0
    for index in range(len(source)):
        between()
        try:
            pixels = reader.of(source, index)
        except BrokenPicture as error:
            broken(error)
            continue
        found = session.evaluate(pixels[None], [labels[int(source.labels[index])]])
        correct, count, loss = correct + found.correct, count + 1, loss + found.loss
    return Accuracy(correct, count, loss / max(count, 1))
