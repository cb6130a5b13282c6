"""A session that watches a folder: what it learns from, what it passes over, and how it goes on after a stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failing_disk import FULL, fails
from PIL import Image
from small_plans import noise, small_plan
from sparsebp.errors import PlanFileError, TrainingDiverged
from sparsebp.runtime import Reservoir, Session, watch, watched_folder
from sparsebp.runtime.draws import Draws
from sparsebp.runtime.seen_pictures import SeenPictures
from sparsebp.runtime.stop import StopRequest
from training import one_thread  # noqa: F401


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_plan(tmp_path_factory.mktemp("plan") / "plan")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def put(folder: Path, name: str, count: int, begin: int = 0) -> None:
    """Pictures of a class; 0.png and so on."""
    (folder / name).mkdir(exist_ok=True)
    for number, pixels in enumerate(noise(count, int.from_bytes(name.encode()[:3], "big") + begin), begin):
        Image.fromarray(pixels).save(folder / name / f"{number}.png")


class Steps(Session):
    """Notes what it learns from, and may do something after a step."""

    def __init__(self, file: Path, after: Callable[[int], object] = lambda step: None) -> None:
        super().__init__(file)
        self.labels: list[list[int]] = []
        self.features_of_steps: list[np.ndarray] = []
        self.known = 0
        self._after = after

    def train_features(self, features: Any, labels: Any) -> Any:
        self.known += int(self.predict_features(features)[0].argmax() == labels[0])
        step = super().train_features(features, labels)
        self.labels.append(list(labels))
        self.features_of_steps.append(features)
        self._after(len(self.labels))
        return step

    @property
    def new(self) -> list[int]:
        """The label of each step's new picture."""
        return [labels[0] for labels in self.labels]


def watched(session: Session, folder: Path, **options: Any) -> list[str]:
    """Until ``stop_after`` or a signal; what was said."""
    said: list[str] = []
    with StopRequest() as stop:
        watch(session, folder, folder.parent / "out", **{"stop": stop, "say": said.append, "patience": 0.3, **options})
    return said


def interrupt(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


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


# -- stops, kills, full disks ------------------------------------------------------------------------


def test_after_a_stop_it_goes_on_with_the_pictures_that_are_left(plan: Path, folder: Path) -> None:
    put(folder, "ant", 8)
    put(folder, "bee", 8)
    first = Steps(plan, after=lambda step: interrupt(signal.SIGINT) if step == 5 else None)
    watched(first, folder, every=3)
    second = Steps(folder.parent / "out")
    assert second.progress.batches == 5
    said = watched(second, folder, stop_after=11)
    assert "5 pictures are known" in said[0]
    assert sorted(first.new + second.new) == [0] * 8 + [1] * 8


@pytest.mark.parametrize("write", range(1, 9))
def test_a_kill_at_any_write_trains_no_picture_twice_in_what_is_saved(
    plan: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """os.replace puts both files in their places in Python, and Session.save in native code."""
    put(folder, "ant", 9)
    keys: list[int] = []
    real = SeenPictures.add
    monkeypatch.setattr(SeenPictures, "add", lambda self, key: (keys.append(key), real(self, key))[1])
    calls = [0]

    class Killed(SystemExit):
        pass

    def dying(of: Callable[..., Any], after: bool) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls[0] += 1
            if after:
                of(*args)
            if calls[0] >= write:
                raise Killed
            return None if after else of(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(SeenPictures, "write", dying(SeenPictures.write, after=write % 2 == 1))
        patch.setattr(Session, "save", dying(Session.save, after=write % 3 == 1))
        with pytest.raises(SystemExit):
            watched(Session(plan), folder, every=2)
    out = folder.parent / "out"
    saved = Session(out if out.exists() else plan)
    behind = saved.progress.batches
    learned = keys[:behind]
    keys.clear()
    watched(saved, folder, stop_after=9 - behind)
    assert len(set(learned + keys)) == 9
    assert saved.progress.batches == 9


def test_a_session_that_began_anew_learns_from_all_pictures_again(plan: Path, folder: Path) -> None:
    put(folder, "ant", 3)
    watched(Session(plan), folder, stop_after=3, every=1)
    again = Steps(plan)
    watched(again, folder, stop_after=3)
    assert len(again.new) == 3


def test_a_name_with_other_content_is_a_new_picture(plan: Path, folder: Path) -> None:
    put(folder, "ant", 1)

    def replace(step: int) -> None:
        if step == 1:
            Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / "ant" / "0.png")

    session = Steps(plan, after=replace)
    watched(session, folder, stop_after=2)
    assert session.new == [0, 0]


def test_a_full_disk_is_said_and_what_was_saved_stays(
    plan: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "ant", 6)
    watched(Session(plan), folder, stop_after=2)
    before = (folder.parent / "out").read_bytes(), (folder.parent / "out.seen").read_bytes()
    fails(monkeypatch, "fsync", 1, FULL)
    with pytest.raises(OSError, match="No space left on device"):
        watched(Session(folder.parent / "out"), folder, every=2)
    assert ((folder.parent / "out").read_bytes(), (folder.parent / "out.seen").read_bytes()) == before


def test_a_run_that_diverges_keeps_what_was_saved(tmp_path: Path, folder: Path) -> None:
    put(folder, "ant", 30)
    put(folder, "bee", 30)
    session = Session(small_plan(tmp_path / "plan"))
    watched(session, folder, stop_after=2)
    before = (tmp_path / "out").read_bytes()
    session.rate = 1e6
    with pytest.raises(TrainingDiverged, match=r"training diverged after \d+ pictures: .*take a smaller rate"):
        watched(session, folder, every=1000)
    assert (tmp_path / "out").read_bytes() == before


def test_a_network_that_a_step_spoilt_is_not_saved(plan: Path, folder: Path) -> None:
    """The loss of a step is that from before it: only another look at some pictures shows what the last one did."""
    put(folder, "ant", 4)
    put(folder, "bee", 4)
    session = Steps(plan, after=lambda step: setattr(session, "rate", 1e30) if step == 7 else None)
    with pytest.raises(TrainingDiverged, match=r"the loss of the last 8 pictures is now .*; nothing was saved"):
        watched(session, folder, stop_after=8)
    assert [path.name for path in folder.parent.iterdir()] == ["pictures"]


@pytest.mark.parametrize("damage", [lambda data: b"foreign" * 20, lambda data: data[:-8], lambda data: data + b"x"])
def test_a_damaged_list_of_pictures_is_refused(plan: Path, folder: Path, damage: Callable[[bytes], bytes]) -> None:
    put(folder, "ant", 2)
    watched(Session(plan), folder, stop_after=2)
    seen = folder.parent / "out.seen"
    seen.write_bytes(damage(seen.read_bytes()))
    with pytest.raises(ValueError, match=r"out\.seen: .*remove it to learn from all"):
        watched(Session(folder.parent / "out"), folder)


def test_a_place_that_cannot_be_written_is_said(plan: Path, folder: Path) -> None:
    put(folder, "ant", 1)
    with StopRequest() as stop, pytest.raises((PlanFileError, OSError)):
        watch(Session(plan), folder, folder.parent / "nowhere" / "out", stop=stop, stop_after=1)


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
