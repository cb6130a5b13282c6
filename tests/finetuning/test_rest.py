"""``rest``: pictures that were learned already are left out of the epochs that follow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import TRAIN, finetune, interrupt, uneven, write_pictures
from sparsebp.data import open_dataset
from sparsebp.finetuning import Observer, Position, checkpoint
from sparsebp.finetuning.rest import Rests

LEARNED = {"skip_above": 0.3, "epochs": 5}


class Shown(Observer):
    """Counts the pictures of each epoch that went through the network."""

    def __init__(self) -> None:
        self.pictures: Counter[int] = Counter()

    def stepped(self, position: Position, loss: float, images: int) -> None:
        self.pictures[position.epoch] += images


def test_what_was_learned_rests_for_so_many_epochs_and_is_due_again() -> None:
    rests = Rests(6, epochs=2)
    assert rests.due([[5, 0], [3]]) == [[5, 0], [3]]
    rests.learned([5, 0, 3], torch.tensor([True, False, True]))
    for left in ([0, 1, 2, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4, 5]):
        rests.end_epoch()
        assert rests.due([list(range(6))]) == [left]


def test_in_its_own_epoch_a_picture_does_not_rest_yet() -> None:
    """A run that goes on asks in the middle of an epoch what the rest of it shows."""
    rests = Rests(3, epochs=1)
    rests.learned([1], torch.tensor([True]))
    assert rests.due([[0, 1, 2]]) == [[0, 1, 2]]


def test_nothing_rests_unless_it_was_asked_for() -> None:
    rests = Rests(3, epochs=0)
    rests.learned([0, 1, 2], torch.ones(3, dtype=torch.bool))
    rests.end_epoch()
    assert rests.due([[0, 1, 2]]) == [[0, 1, 2]]
    assert rests.state is None


def test_its_state_is_of_so_many_pictures() -> None:
    rests, other = Rests(3, epochs=1), Rests(4, epochs=1)
    assert rests.state is not None
    with pytest.raises(ValueError, match="expected 4 pictures that may rest"):
        other.go_on(rests.state)


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 3, "budget": "64KB"}, {"cache": "memory"}], ids=str)
def test_the_pictures_of_an_epoch_are_those_that_were_not_learned_in_the_one_before(changes: dict[str, Any]) -> None:
    shown = Shown()
    epochs = finetune(rest=1, observer=shown, **LEARNED, **changes).history.epochs
    trained = [round(epoch.learned_from * TRAIN) for epoch in epochs]
    assert shown.pictures[0] == TRAIN
    rested = 0
    for number in range(1, len(epochs)):
        rested = shown.pictures[number - 1] - trained[number - 1]
        assert shown.pictures[number] == TRAIN - rested
    assert rested > 0, "no picture ever rested"


def test_balanced_pictures_rest_too() -> None:
    shown = Shown()
    finetune(rest=3, observer=shown, data=uneven(), balance="sampling", **LEARNED)
    assert shown.pictures[4] < shown.pictures[0]


@pytest.mark.parametrize("changes", [{}, {"cache": "memory"}, {"augment": "slide,erase,flip"}], ids=str)
def test_all_pictures_may_rest_at_once(changes: dict[str, Any], tmp_path: Path) -> None:
    shown = Shown()
    history = finetune(tmp_path / "run", rest=2, skip_above=0.0001, epochs=5, observer=shown, **changes).history
    assert [shown.pictures[epoch] for epoch in range(5)] == [TRAIN, 0, 0, TRAIN, 0]
    assert all(epoch.learned_from == 0 for epoch in history.epochs)


def test_pictures_that_came_wake_all_others(tmp_path: Path) -> None:
    """A folder that has grown since: numbers are no longer those of the pictures that rest."""
    write_pictures(tmp_path / "data", 10)
    out = tmp_path / "run"
    interrupt(out, "epoch_ended", 3, data=open_dataset(tmp_path / "data"), rest=4, **LEARNED)
    saved = checkpoint.newest(out)
    assert saved is not None
    assert saved.training[checkpoint.RESTS].any()
    write_pictures(tmp_path / "more", 1, seed=1)
    for file in (tmp_path / "more").glob("*/*"):
        file.rename(tmp_path / "data" / file.parent.name / "new.png")
    shown, grown = Shown(), open_dataset(tmp_path / "data")
    finetune(out, data=grown, resume=True, rest=4, observer=shown, **LEARNED)
    assert shown.pictures[3] == len(grown.train)


def test_it_needs_a_probability_above_which_pictures_are_learned() -> None:
    with pytest.raises(ValueError, match="rest: with skip_above=1 no picture counts as learned"):
        finetune(rest=1)
    assert finetune(rest=1, recipe=True, skip_above=0.5).settings.rest == 1


@pytest.mark.parametrize(("value", "error"), [(1.5, TypeError), (True, TypeError), (-1, ValueError), (255, ValueError)])
def test_it_is_a_number_of_epochs(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="rest: expected"):
        finetune(rest=value, **LEARNED)
