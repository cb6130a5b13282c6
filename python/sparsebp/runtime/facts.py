"""What a session says of its plan and of what it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Bytes and shapes of a plan.

    Attributes:
        arena_bytes: the most that one training step needs of the budget.
        budget_bytes: what the plan was made for, and what the arena has.
        workspace_bytes: activations of inference, with one micro-batch of images and of logits; 0 with ``whole_step``.
        whole_step: whether the budget covers all that a step needs but the weights, and not training alone.
        file_bytes: of the plan file, weights included.
        height, width, channels: of an image.
        classes: logits of an image.
        outputs: of the network; those that are no classes are spare.
        micro_batch: images that go through at once.
        batch: images of a whole step; a step of another size takes its share of the rates (normalised: the
            root), of more images more.
        features: numbers that the frozen prefix makes of an image.
    """

    arena_bytes: int
    budget_bytes: int
    workspace_bytes: int
    whole_step: bool
    file_bytes: int
    height: int
    width: int
    channels: int
    classes: int
    outputs: int
    micro_batch: int
    batch: int
    features: int


@dataclass(frozen=True)
class Step:
    """What a call came to.

    Attributes:
        loss: the mean.
        correct: images that were recognised, before the update.
        trained: images that trained something; with a skip threshold fewer than there were.
    """

    loss: float
    correct: int
    trained: int


@dataclass(frozen=True)
class Progress:
    """Where training is.

    Attributes:
        batches: seen so far; the schedule goes by them.
        steps: taken so far.
        turn: draws of the channels so far, less one.
    """

    batches: int
    steps: int
    turn: int
