"""A reservoir keeps features of earlier pictures: bounded, balanced by class, and through kills."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from failing_disk import FULL, fails
from hypothesis import given, settings
from hypothesis import strategies as st
from small_plans import KNOWN, noise, small_plan
from sparsebp.errors import ReservoirError
from sparsebp.runtime import Reservoir, Session
from sparsebp.runtime.balance import FREE, Balance
from sparsebp.runtime.draws import Draws
from training import one_thread  # noqa: F401

LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_plan(tmp_path_factory.mktemp("plan") / "plan")


@pytest.fixture
def session(plan: Path) -> Session:
    return Session(plan)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def numbered(session: Session, count: int, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Features that tell which picture of which class they are: the first is its number, the second its class.

    Between 0 and 255, uint8 keeps them as they are.
    """
    features = np.zeros((count, session.sizes.features), np.float32)
    features[:, 0], features[:, 1], features[:, 2] = np.arange(count), label, 255
    return features, np.full(count, label)


def everything(reservoir: Reservoir) -> tuple[np.ndarray, np.ndarray]:
    return reservoir.draw(reservoir.capacity)


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


# -- damage ------------------------------------------------------------------------------------------


def test_flipped_bytes_cost_the_slots_that_they_are_in(file: Path, session: Session) -> None:
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(*numbered(session, 40, 0))
        size, capacity = reservoir.size, reservoir.capacity
    data = bytearray(file.read_bytes())
    slot = session.sizes.features + 24
    begin = size - capacity * slot
    for at, place in ((0, 3), (5, 8), (9, 11), (30, 20), (slot - 1, 33)):  # checksum, bytes, row, features
        data[begin + place * slot + at] ^= 0x40
    file.write_bytes(data)
    with Reservoir.open(file, LIMIT, session) as reservoir:
        found = everything(reservoir)[0][:, 0].round()
        assert sorted(found) == [n for n in range(40) if n not in (3, 8, 11, 20, 33)]
        assert reservoir.kept == {"ant": 35}
        assert reservoir.seen == {"ant": 40}


@pytest.mark.parametrize("lost", [1, 100, 5000])
def test_a_truncated_file_keeps_what_is_in_front(file: Path, session: Session, lost: int) -> None:
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(*numbered(session, reservoir.capacity, 1))
        capacity, size = reservoir.capacity, reservoir.size
    os.truncate(file, size - lost)
    slots = -(-lost // (session.sizes.features + 24))
    with Reservoir.open(file, LIMIT, session) as reservoir:
        assert sorted(everything(reservoir)[0][:, 0].round()) == list(range(capacity - slots))
        assert reservoir.size == size


def test_one_header_is_enough(file: Path, session: Session) -> None:
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(*numbered(session, 9, 1))
    whole = file.read_bytes()
    second = whole.index(b"sbp-reservoir", 1)
    for damaged in (0, second):
        for at in (0, 20, 40, 90):
            data = bytearray(whole)
            data[damaged + at] ^= 0xFF
            file.write_bytes(data)
            if at == 20:  # looks like a newer version
                continue
            with Reservoir.open(file, LIMIT, session) as reservoir:
                assert len(everything(reservoir)[0]) == 9
    data = bytearray(whole)
    data[90] ^= 1
    data[second + 90] ^= 1
    file.write_bytes(data)
    with pytest.raises(ReservoirError, match="kept: it is damaged, neither of its two headers is whole; remove it"):
        Reservoir.open(file, LIMIT, session)


def test_a_full_disk_loses_nothing(file: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fails(patch, "posix_fallocate", 1, FULL)
        with pytest.raises(OSError, match="No space left on device") as caught:
            Reservoir.open(file, LIMIT, session)
        assert caught.value.filename == str(file)
    assert list(file.parent.iterdir()) == []
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(*numbered(session, 5, 0))
        with monkeypatch.context() as patch:
            fails(patch, "pwrite", 1, FULL)
            with pytest.raises(OSError, match="No space left"):
                reservoir.add(*numbered(session, 1, 1))
        with monkeypatch.context() as patch:
            fails(patch, "pwrite", 2, FULL)
            with pytest.raises(OSError, match="No space left"):
                reservoir.add(*numbered(session, 1, 0))
        assert len(everything(reservoir)[0]) >= 5
    with monkeypatch.context() as patch:
        fails(patch, "posix_fallocate", 1, FULL)
        with pytest.raises(OSError, match="No space left"):
            Reservoir.open(file, 2 * LIMIT, session)
    with Reservoir.open(file, LIMIT, session) as reservoir:
        assert reservoir.kept["ant"] >= 5


# -- what is refused ---------------------------------------------------------------------------------


def test_features_of_another_network_are_refused(file: Path, tmp_path: Path, session: Session) -> None:
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(*numbered(session, 2, 0))
    before = file.read_bytes()
    with pytest.raises(ReservoirError, match="it is of another network, or of other frozen weights; give another file"):
        Reservoir.open(file, LIMIT, Session(small_plan(tmp_path / "other", seed=1)))
    data = bytearray(before)
    file.write_bytes(before)
    with pytest.raises(ReservoirError, match="it keeps features as uint8, not as float16"):
        Reservoir.open(file, LIMIT, session, kind="float16")
    assert file.read_bytes() == before
    for place in (0, before.index(b"sbp-reservoir", 1)):
        data[place + 16] = 2
    file.write_bytes(data)
    with pytest.raises(ReservoirError, match="version 2 of its format, this sparsebp reads 1"):
        Reservoir.open(file, LIMIT, session)
    file.write_bytes(b"something else" * 5000)
    with pytest.raises(ReservoirError, match="it is no reservoir of sparsebp; give another file"):
        Reservoir.open(file, LIMIT, session)
    assert file.read_bytes() == b"something else" * 5000


def test_training_does_not_make_it_another_network(file: Path, session: Session) -> None:
    with Reservoir.open(file, LIMIT, session) as reservoir:
        reservoir.add(session.features(noise(4, 0)), [0, 1, 2, 0])
    for step in range(5):
        session.train(noise(2, step), [0, 1])
    session.add_class("dog")
    with Reservoir.open(file, LIMIT, session) as reservoir:
        assert reservoir.kept == {"ant": 2, "bee": 1, "cow": 1}


def test_a_file_is_open_once(file: Path, session: Session) -> None:
    with (
        Reservoir.open(file, LIMIT, session),
        pytest.raises(ReservoirError, match="another process uses it"),
    ):
        Reservoir.open(file, LIMIT, session)


def test_wrong_arrays_are_refused(file: Path, session: Session) -> None:
    features = session.features(noise(2, 0))
    with Reservoir.open(file, LIMIT, session) as reservoir:
        with pytest.raises(ValueError, match="labels: expected 0 to 2, got 0 to 3"):
            reservoir.add(features, [0, 3])
        with pytest.raises(ValueError, match="features: expected"):
            reservoir.add(features[:, 1:], [0, 1])
        with pytest.raises(ValueError, match="features: expected finite numbers"):
            reservoir.add(np.full_like(features, np.nan), [0, 1])
        assert reservoir.seen == {}
    with pytest.raises(ValueError, match="kind: expected uint8 or float16, got 'int4'"):
        Reservoir.open(file, LIMIT, session, kind="int4")
