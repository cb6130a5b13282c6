"""A reservoir keeps features of earlier pictures: bounded, balanced by class, and through kills."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reservoirs import LIMIT, everything, file, numbered, plan, session
from small_plans import KNOWN, noise, small_plan
from sparsebp.runtime import Reservoir, Session
from sparsebp.runtime.balance import FREE, Balance
from sparsebp.runtime.draws import Draws
from training import one_thread  # noqa: F401

__all__ = ["file", "plan", "session"]  # fixtures


# -- what is stored ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uint8", "float16"])
def test_what_comes_out_is_what_went_in_but_for_rounding(file: Path, session: Session, kind: str) -> None:
    features, labels = session.features(noise(3, 0)), np.array([2, 0, 1])
    with Reservoir.open(file, LIMIT, session, kind=kind) as reservoir:
        assert reservoir.add(features, labels) == 3
        found, classes = reservoir.draw(3)
    for picture, label in zip(found, classes, strict=True):
        original = features[labels == label][0]
        steps = (original.max() - original.min()) / 255 if kind == "uint8" else np.abs(original) / 1024
        assert np.all(np.abs(picture - original) <= 0.501 * steps + 1e-7)
    session.train_features(found, classes)


def test_a_file_goes_on_where_it_was(file: Path, plan: Path, session: Session) -> None:
    def offer(reservoir: Reservoir, numbers: range) -> None:
        for number in numbers:
            features, _ = numbered(session, 1, number % 3)
            features[0, 0] = number
            reservoir.add(features, [number % 3])

    with Reservoir.open(file, LIMIT, session, seed=7) as reservoir:
        offer(reservoir, range(250))
        undisturbed = sorted(everything(reservoir)[0][:, 0])
        assert len(undisturbed) == reservoir.capacity
    file.unlink()
    with Reservoir.open(file, LIMIT, session, seed=7) as reservoir:
        offer(reservoir, range(150))
    with Reservoir.open(file, LIMIT, Session(plan)) as reservoir:
        offer(reservoir, range(150, 250))
        assert sorted(everything(reservoir)[0][:, 0]) == undisturbed


def test_names_count_not_numbers(file: Path, tmp_path: Path, session: Session) -> None:
    features = session.features(noise(3, 1))
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(features, [0, 1, 2])
    other = Session(small_plan(tmp_path / "other", known=list(reversed(KNOWN))))
    with Reservoir.open(file, LIMIT, other) as reservoir:
        found, labels = everything(reservoir)
        for picture, label in zip(found, labels, strict=True):
            nearest = np.abs(features - picture).sum(1).argmin()
            assert other.classes[label] == KNOWN[nearest]


def test_a_class_that_the_session_does_not_know_yet_waits(file: Path, plan: Path, session: Session) -> None:
    session.add_class("dog")
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(*numbered(session, 2, 3))
    before_dogs = Session(plan)
    with Reservoir.open(file, LIMIT, before_dogs) as reservoir:
        assert len(everything(reservoir)[1]) == 0
        assert reservoir.kept == {"dog": 2}
        assert before_dogs.add_class("eel") == 3
        assert before_dogs.add_class("dog") == 4
        assert everything(reservoir)[1].tolist() == [4, 4]


def test_drawn_pictures_differ_and_each_comes_as_often(file: Path, session: Session) -> None:
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(*numbered(session, 10, 0))
        times = np.zeros(10)
        for _ in range(400):
            picked = reservoir.draw(4)[0][:, 0].round().astype(int)
            assert len(set(picked)) == 4
            times[picked] += 1
    assert np.all(np.abs(times - 160) < 50)  # five standard deviations of a count of 400 draws at 0.4


def test_only_what_is_drawn_is_read(file: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with Reservoir.open(file, "1MB", session) as reservoir:
        reservoir.add(*numbered(session, 200, 0))
    real, read = os.pread, [0]

    def counted(handle: int, count: int, place: int) -> bytes:
        data = real(handle, count, place)
        read[0] += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    slot = session.sizes.features + 24
    with Reservoir.open(file, "1MB", session) as reservoir:
        assert read[0] < 8192 + 24 * reservoir.capacity
        read[0] = 0
        reservoir.draw(5)
        assert read[0] == 5 * slot
        read[0] = 0
        reservoir.add(*numbered(session, 1, 1))
        assert read[0] == 0


# -- bounds ------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_bytes_are_never_above_the_limit(
    plan: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    session = Session(plan)
    path = tmp_path_factory.mktemp("kept") / "kept"
    for _ in range(data.draw(st.integers(1, 3))):
        limit = data.draw(st.integers(16 * 1024, LIMIT))
        with Reservoir.open(path, limit, session) as reservoir:
            for label in data.draw(st.lists(st.integers(0, 2), max_size=60)):
                reservoir.add(*numbered(session, 1, label))
                assert path.stat().st_size <= limit
            assert limit - path.stat().st_size < path.stat().st_size / reservoir.capacity + 1
            assert sum(reservoir.kept.values()) <= reservoir.capacity


def test_a_smaller_limit_takes_from_the_largest_classes(file: Path, session: Session) -> None:
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(*numbered(session, 3, 0))
        reservoir.add(*numbered(session, 30, 1))
        reservoir.add(*numbered(session, 30, 2))
    with Reservoir.open(file, 20 * 1024, session) as reservoir:
        kept, capacity = reservoir.kept, reservoir.capacity
        assert sum(kept.values()) == capacity
        assert kept["ant"] == 3
        assert abs(kept["bee"] - kept["cow"]) <= 1
        found, labels = everything(reservoir)
        assert np.array_equal(found[:, 1].round(), labels)
    with Reservoir.open(file, LIMIT, session) as reservoir:
        assert reservoir.kept == kept
        assert reservoir.capacity > capacity


def test_a_limit_without_room_for_every_class_is_refused(file: Path, session: Session) -> None:
    with pytest.raises(ValueError, match=r"reservoir: expected at least \d+ bytes, for a picture of each of 5 classes"):
        Reservoir.open(file, "2KB", session)
    assert not file.exists()


# -- which ones are kept -------------------------------------------------------------------------------


def offered(places: int, classes: list[int], seed: int) -> tuple[Balance, list[int], list[int]]:
    """A balance that pictures of these classes came by; which picture is in each place, and what was seen."""
    seen = [0] * (max(classes, default=0) + 1)
    balance = Balance(np.full(places, FREE), seen, Draws(seed))
    inside = [FREE] * places
    for picture, row in enumerate(classes):
        place = balance.place_for(row)
        seen[row] += 1
        if place is not None:
            balance.rows[place], inside[place] = row, picture
    return balance, inside, seen


@settings(deadline=None)
@given(st.integers(4, 20), st.lists(st.integers(0, 3), max_size=120), st.integers(0, 2**64 - 1))
def test_a_small_class_is_kept_whole_and_large_ones_share_what_is_left(
    places: int, classes: list[int], seed: int
) -> None:
    balance, inside, seen = offered(places, classes, seed)
    kept = balance.counts()
    assert seen == [classes.count(row) for row in range(len(seen))]
    assert kept.sum() == min(places, len(classes))
    assert [
        row for row, picture in zip(balance.rows, inside, strict=True) if picture != FREE and classes[picture] != row
    ] == []
    for count, came in zip(kept, seen, strict=True):
        assert count == came or count >= kept.max() - 1  # all of it, or as much as the others


def test_of_a_class_each_picture_is_kept_as_likely_as_any_other() -> None:
    """Classes come one after the other, which takes places from the first again and again."""
    classes, runs = [0] * 40 + [1] * 25 + [0] * 20 + [2] * 30, 3000
    times = np.zeros(len(classes))
    for seed in range(runs):
        _, inside, _ = offered(12, classes, seed)
        times[inside] += 1
    for row in range(3):
        own = times[np.array(classes) == row]
        share = own.mean() / runs
        deviation = np.sqrt(runs * share * (1 - share))
        assert np.abs(own - own.mean()).max() < 4.5 * deviation
