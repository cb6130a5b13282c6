"""A session that watches a folder: what it learns from, what it passes over, and how it goes on after a stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sparsebp.runtime import Reservoir, Session, watched_folder
from sparsebp.runtime.draws import Draws
from sparsebp.runtime.seen_pictures import SeenPictures
from training import one_thread  # noqa: F401
from watched import Steps, folder, interrupt, plan, put, watched

__all__ = ["folder", "plan"]  # fixtures


# -- what it learns from -------------------------------------------------------------------------------


def test_pictures_that_are_there_come_mixed(plan: Path, folder: Path) -> None:
    for name in ("ant", "bee", "cow"):
        put(folder, name, 12)
    session = Steps(plan)
    said = watched(session, folder, stop_after=36, every=20)
    assert sorted(session.new) == [0] * 12 + [1] * 12 + [2] * 12
    assert sum(a != b for a, b in zip(session.new, session.new[1:], strict=False)) > 12
    assert [line.split(",")[0] for line in said] == ["20 pictures", "36 pictures"]
    assert Session(folder.parent / "out").progress.batches == 36


def test_pictures_that_come_while_it_runs_are_learned(plan: Path, folder: Path) -> None:
    put(folder, "ant", 2)
    arrivals = {2: lambda: put(folder, "bee", 3), 5: lambda: put(folder, "cow", 1), 6: interrupt}
    session = Steps(plan, after=lambda step: arrivals.get(step, int)())
    watched(session, folder)
    assert session.new == [0, 0, 1, 1, 1, 2]
    assert Session(folder.parent / "out").progress.batches == 6


def test_without_a_reservoir_steps_are_those_of_the_pictures(plan: Path, folder: Path) -> None:
    put(folder, "ant", 6)
    put(folder, "bee", 6)
    session, plain = Steps(plan), Session(plan)
    said = watched(session, folder, stop_after=12)
    assert f"12 pictures, {session.known / 12:.0%} known before" in said[0]
    files = list(folder.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    known = plain.features(pixels)
    for features, labels in zip(session.features_of_steps, session.labels, strict=True):
        chosen = np.flatnonzero((known == features[0]).all(1))[0]
        assert ("ant", "bee")[labels[0]] == files[chosen].parent.name
        plain.train(pixels[[chosen]], labels)
    plain.save(folder.parent / "plain")
    assert (folder.parent / "out").read_bytes() == (folder.parent / "plain").read_bytes()


def test_a_reservoir_gives_each_step_earlier_pictures(plan: Path, folder: Path) -> None:
    put(folder, "ant", 6)
    put(folder, "bee", 6)
    session = Steps(plan)
    with Reservoir.open(folder.parent / "kept", "64KB", session) as reservoir:
        said = watched(session, folder, reservoir=reservoir, replay=3, stop_after=12)
        assert sorted(reservoir.kept.items()) == [("ant", 6), ("bee", 6)]
    assert f"12 pictures, {session.known / 12:.0%} known before" in said[0]
    assert [len(labels) for labels in session.labels] == [1, 2, 3] + [4] * 9
    firsts = np.stack([features[0] for features in session.features_of_steps])
    for step, (features, labels) in enumerate(zip(session.features_of_steps, session.labels, strict=True)):
        for replayed, label in zip(features[1:], labels[1:], strict=True):
            distances = np.abs(firsts - replayed).max(1)
            source = int(distances.argmin())
            assert source < step
            assert session.new[source] == label
            assert distances[source] <= np.ptp(firsts[source]) / 255


def test_a_file_that_is_still_being_written_is_learned_when_it_is_whole(plan: Path, folder: Path) -> None:
    put(folder, "ant", 1)
    whole = (folder / "ant" / "0.png").read_bytes()
    (folder / "bee").mkdir()
    slow = folder / "bee" / "slow.png"

    def write() -> None:
        for end in range(100, len(whole), 150):  # each time longer than before, for more than the patience in all
            slow.write_bytes(whole[:end])
            time.sleep(0.12)
        slow.write_bytes(whole)

    writer = threading.Thread(target=write)
    writer.start()
    session = Steps(plan)
    said = watched(session, folder, stop_after=2)
    writer.join()
    assert session.new == [0, 1]
    assert not any("passed over" in line for line in said)


def test_what_is_no_picture_is_named_once(plan: Path, folder: Path) -> None:
    put(folder, "ant", 1)
    (folder / "ant" / "broken.png").write_bytes(b"no picture")
    (folder / "ant" / ".hidden.png").write_bytes(b"no picture")
    (folder / "ant" / "notes.txt").write_bytes(b"no picture")
    (folder / "ant" / "deeper").mkdir()
    threading.Timer(1.5, interrupt).start()
    said = watched(Steps(plan), folder)
    assert sum("passed over" in line for line in said) == 1
    assert any("broken.png: " in line and line.endswith("it is passed over") for line in said)
    session = Session(folder.parent / "out")
    threading.Timer(0.8, interrupt).start()
    assert not any("passed over" in line for line in watched(session, folder))


# -- classes -----------------------------------------------------------------------------------------


def test_unknown_classes_are_named_once_and_learned_when_they_are_allowed(plan: Path, folder: Path) -> None:
    put(folder, "ant", 2)
    put(folder, "dog", 3)
    session = Steps(plan, after=lambda step: put(folder, "dog", 1, begin=5) if step == 1 else interrupt())
    said = watched(session, folder)
    assert [line for line in said if "dog" in line] == [
        f"{folder / 'dog'}: it is no class of this plan, and new ones are not allowed; it is passed over"
    ]
    assert session.new == [0, 0]
    again = Steps(folder.parent / "out")
    said = watched(again, folder, allow_new_classes=True, stop_after=4)
    assert again.new == [3] * 4
    assert "dog: a new class, number 3" in said
    assert Session(folder.parent / "out").classes == ["ant", "bee", "cow", "dog"]


def test_when_no_class_is_spare_the_others_go_on(plan: Path, folder: Path) -> None:
    for name in ("dog", "eel", "fox", "gnu"):
        put(folder, name, 2)
    (folder / "empty").mkdir()
    session = Steps(plan)
    said = watched(session, folder, allow_new_classes=True, stop_after=4)
    assert len(session.classes) == 5
    assert sorted(session.new) == [3, 3, 4, 4]
    threading.Timer(0.8, interrupt).start()
    said += watched(session, folder, allow_new_classes=True)
    assert len([line for line in said if "all 5 outputs are classes" in line]) >= 2
    assert not any("empty" in line for line in said)


# -- memory ------------------------------------------------------------------------------------------


def test_of_many_pictures_only_some_are_held_at_once(plan: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_folder, "AT_ONCE", 4)
    for name in ("ant", "bee"):
        put(folder, name, 9)
    real, looks = watched_folder.WatchedFolder.look, []
    monkeypatch.setattr(watched_folder.WatchedFolder, "look", lambda *args: (looks.append(real(*args)), looks[-1])[1])
    session = Steps(plan)
    watched(session, folder, stop_after=18)
    assert sorted(session.new) == [0] * 9 + [1] * 9
    assert [len(found) for found in looks[:5]] == [4, 4, 4, 4, 2]


def test_of_many_pictures_each_is_as_likely_to_be_taken_first(
    plan: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_folder, "AT_ONCE", 4)
    put(folder, "ant", 8)
    put(folder, "bee", 8)
    seen, times = SeenPictures(folder.parent / "out", Session(plan)), Counter[Path]()
    for seed in range(400):
        found = watched_folder.WatchedFolder(folder, seen, Draws(seed)).look(lambda name: True)
        times.update(picture.file for picture in found)
    assert len(times) == 16
    assert all(abs(count - 100) < 45 for count in times.values())  # five standard deviations


def test_keys_of_pictures_that_are_gone_are_forgotten_when_they_are_too_many(
    plan: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsebp.runtime.seen_pictures.MOST_GONE", 5)
    seen = SeenPictures(folder.parent / "out", Session(plan))
    for key in range(20):
        seen.add(key)
    seen.saved()
    seen.forget_gone(np.arange(15, dtype=np.uint64))
    assert len(seen) == 20
    seen.forget_gone(np.arange(10, dtype=np.uint64))
    assert len(seen) == 10
    assert 9 in seen
    assert 12 not in seen
