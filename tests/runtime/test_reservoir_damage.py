"""What a reservoir loses when bytes of its file are damaged, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from failing_disk import FULL, fails
from reservoirs import LIMIT, everything, file, numbered, plan, session
from small_plans import noise, small_plan
from sparsebp.errors import ReservoirError
from sparsebp.runtime import Reservoir, Session
from training import one_thread  # noqa: F401

__all__ = ["file", "plan", "session"]  # fixtures


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
