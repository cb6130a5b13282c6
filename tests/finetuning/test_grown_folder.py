"""A run goes on with a folder in which pictures came or went since it was stopped, and says so."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from runs import (
    CLASSES,
    SETTINGS,
    At,
    Log,
    assert_same_run,
    dataset,
    network,
    pixels,
    signalled,
    write_pictures,
)
from sparsebp import Interrupted
from sparsebp.data import Dataset, open_dataset
from sparsebp.finetuning import Change, CheckpointError, checkpoint
from sparsebp.finetuning.order import Order

# -- the order of an epoch -------------------------------------------------------------------------

KEYS = np.arange(100, 120)


def order(keys: Any = KEYS, batch: int = 3, seed: int = 7) -> Order:
    return Order(len(keys), batch, seed, np.array(keys))


def test_an_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    first = order()
    assert first.steps == 7
    assert sorted(index for row in first.rows(0) for index in row) == list(range(20))
    assert first.rows(2) == first.rows(0)[2:]
    assert first.rows(0) == order().rows(0) != order(seed=8).rows(0)
    second = order()
    second.begin(1)
    assert second.rows(0) != first.rows(0)
    expected = np.random.default_rng((7, 1)).permutation(20).tolist()
    assert [index for row in second.rows(0) for index in row] == expected


@given(st.integers(0, 7), st.integers(0, 30), st.sets(st.integers(0, 19)), st.integers(0, 3))
def test_what_is_left_of_an_epoch_has_every_picture_once(step: int, new: int, gone: set[int], epoch: int) -> None:
    stopped = order()
    stopped.begin(epoch)
    keys = [*(key for i, key in enumerate(KEYS.tolist()) if i not in gone), *range(1000, 1000 + new)]
    if not keys:
        return
    resumed = order(keys)
    assert resumed.resume(stopped.keys, epoch, step) == (new, len(gone))
    left = [keys[index] for row in resumed.rows(step) for index in row]
    before = set(stopped.keys[: 3 * step].tolist()) if step else set()
    assert len(left) == len(set(left))
    assert not before & set(left)
    waits = step == 7  # only its test is left of the epoch
    assert set(left) == (set() if waits else set(keys) - before)
    assert resumed.steps >= step
    again = order(keys)
    again.resume(resumed.keys, epoch, step)
    assert again.rows(step) == resumed.rows(step)


def test_with_the_same_pictures_nothing_changes() -> None:
    for step in range(8):
        resumed = order()
        assert resumed.resume(order().keys, 0, step) == (0, 0)
        assert resumed.rows(step) == order().rows(step)


# -- whole runs ------------------------------------------------------------------------------------


def finetune(out: Path, pictures: Path | Dataset, **changes: Any) -> sparsebp.FineTuned:
    return sparsebp.finetune(network(), pictures, out=out, dense_audit=False, **{**SETTINGS, **changes})


def stop(out: Path, pictures: Path | Dataset, event: str, count: int, **changes: Any) -> None:
    with pytest.raises(Interrupted):
        finetune(out, pictures, observer=signalled(event, count), **changes)


def add(folder: Path, count: int, prefix: str = "new") -> None:
    generator = np.random.default_rng(5)
    for label, name in enumerate(CLASSES):
        for i in range(count):
            Image.fromarray(pixels(label, generator)).save(folder / name / f"{prefix}{i}.png")


class Learned(Log):
    """Counts the pictures of each epoch, and what is said of a change."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []

    def changed(self, change: Change) -> None:
        self.changes.append(change)

    @property
    def pictures(self) -> dict[int, int]:
        steps = self.only("stepped")
        return {epoch: sum(n for _, at, _, n in steps if at == epoch) for epoch in {at for _, at, _, _ in steps}}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures", 12)
    return tmp_path / "pictures"


def test_new_pictures_join_the_epoch_and_gone_ones_are_left_out(tmp_path: Path, pictures: Path) -> None:
    stop(tmp_path / "run", pictures, "stepped", 2)
    add(pictures, 5)
    for file in sorted(pictures.glob("*/0[0-3].png")):
        file.unlink()
    log, now = Learned(), open_dataset(pictures)
    result = finetune(tmp_path / "run", pictures, resume=True, observer=log)
    [change] = log.changes
    assert change.new > 10
    assert change.gone > 10
    assert change.epoch == 1
    assert change.tests == len(now.test)
    assert log.pictures[1] == len(now.train)
    assert log.pictures[0] <= len(now.train)
    assert sum(of["pictures"] for of in result.history.classes.values()) == len(now.test)


@pytest.mark.parametrize(
    ("event", "count", "epoch"),
    [
        pytest.param("stepped", 2, 1, id="in the first epoch"),
        pytest.param("evaluating", 1, 2, id="in its test"),
        pytest.param("epoch_ended", 1, 2, id="between two"),
        pytest.param("stepped", 7, 2, id="in the last epoch"),
    ],
)
@pytest.mark.parametrize("cache", [None, "memory"])
def test_a_grown_run_survives_kills_too(
    event: str, count: int, epoch: int, cache: str | None, tmp_path: Path, pictures: Path
) -> None:
    """The one that is killed again goes on as the one that is not, and both tell the change once."""
    stop(tmp_path / "whole", pictures, event, count)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    add(pictures, 9)
    told, later = Learned(), Learned()
    finetune(tmp_path / "whole", pictures, resume=True, observer=told, cache=cache)
    stop(tmp_path / "killed", pictures, "stepped", 1, resume=True)
    finetune(tmp_path / "killed", pictures, resume=True, observer=later)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    assert [change.epoch for change in told.changes] == [epoch]
    assert later.changes == []


def test_no_picture_that_a_run_learned_from_is_tested(tmp_path: Path) -> None:
    """Not even where a class had one picture, or lost those that were held out."""
    write_pictures(tmp_path / "pictures", 4)
    for file in sorted((tmp_path / "pictures" / "red").iterdir())[1:]:
        file.unlink()
    before = open_dataset(tmp_path / "pictures")
    learned = {Path(before.train.name(i)) for i in range(len(before.train))}
    stop(tmp_path / "run", tmp_path / "pictures", "stepped", 1)
    for file in (tmp_path / "pictures").glob("*/*"):
        if file not in learned:
            file.unlink()
    add(tmp_path / "pictures", 1)
    log = Learned()
    finetune(tmp_path / "run", tmp_path / "pictures", resume=True, observer=log)
    after = open_dataset(tmp_path / "pictures").keeping(keys(tmp_path / "run"))
    assert not {Path(after.test.name(i)) for i in range(len(after.test))} & learned
    assert log.changes[0].tests == 4, "the new picture of each class"


def keys(out: Path) -> np.ndarray:
    newest = checkpoint.newest(out)
    assert newest is not None
    return newest.training[checkpoint.ORDER].numpy()


def test_a_finished_run_learns_nothing_more(tmp_path: Path, pictures: Path) -> None:
    finetune(tmp_path / "run", pictures)
    before, log = keys(tmp_path / "run"), Learned()
    add(pictures, 3)
    finetune(tmp_path / "run", pictures, resume=True, observer=log)
    assert log.pictures == {}
    assert log.changes[0].epoch is None
    assert keys(tmp_path / "run").tolist() == before.tolist()


def test_levels_stay_those_of_the_run(tmp_path: Path, pictures: Path) -> None:
    """A grown folder may suggest others, or have its first pictures with more than 8 bits."""
    stop(tmp_path / "run", pictures, "stepped", 1)
    for greatest, expected in ((1000, [0.0, 1023.0, False]), (60_000, [0.0, 1023.0, False])):
        values = np.linspace(0, greatest, 256).astype(np.uint16).reshape(16, 16)
        for i in range(9):
            Image.fromarray(values).save(pictures / "grey" / f"deep-{greatest}-{i}.png")
        with pytest.raises(Interrupted):
            finetune(tmp_path / "run", pictures, resume=True, observer=At("stepped", 1, lambda: signal.raise_signal(2)))
        newest = checkpoint.newest(tmp_path / "run")
        assert newest is not None
        assert newest.facts["settings"]["preprocess"]["levels"] == expected


# -- what is refused -------------------------------------------------------------------------------


def test_a_run_keeps_its_classes(tmp_path: Path, pictures: Path) -> None:
    stop(tmp_path / "run", pictures, "stepped", 1)
    shutil.copytree(pictures / "red", pictures / "violet")
    with pytest.raises(
        CheckpointError, match=r"other data: classes differs \(new: violet\)\. .*another one from its w"
    ):
        sparsebp.finetune(network(classes=5), pictures, out=tmp_path / "run", resume=True, **SETTINGS)


def without_order(out: Path) -> None:
    """As runs of earlier versions are: they noted neither the pictures nor a rule."""
    newest = checkpoint.newest(out)
    assert newest is not None
    facts = {k: v for k, v in newest.facts.items() if k != "origin"}
    facts["origin"] = {k: v for k, v in newest.facts["origin"].items() if k != "split"}
    training = {k: t for k, t in newest.training.items() if k != checkpoint.ORDER}
    facts["history"] = {k: v for k, v in facts["history"].items() if k != "classes"}
    checkpoint.write(out, checkpoint.Checkpoint(newest.weights, training, facts))


def test_a_run_of_an_earlier_version_goes_on_with_its_own_draw(tmp_path: Path, pictures: Path) -> None:
    drawn = open_dataset(pictures, split="draw")
    finetune(tmp_path / "whole", drawn)
    stop(tmp_path / "run", drawn, "stepped", 2)
    without_order(tmp_path / "run")
    result = finetune(tmp_path / "run", pictures, resume=True)
    assert result.history.to_dict() == finetune(tmp_path / "whole", drawn, resume=True).history.to_dict()
    stop(tmp_path / "grown", drawn, "stepped", 2)
    without_order(tmp_path / "grown")
    add(pictures, 1)
    with pytest.raises(CheckpointError, match="other data: train differs; an earlier sparsebp began it"):
        finetune(tmp_path / "grown", pictures, resume=True)


def test_pictures_without_names_must_be_the_same(tmp_path: Path) -> None:
    stop(tmp_path / "run", dataset(), "stepped", 1)
    with pytest.raises(CheckpointError, match=r"other data: train differs$"):
        finetune(tmp_path / "run", dataset(24), resume=True)
