"""A watched run that is stopped or killed, or whose disk is full, goes on with what was saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failing_disk import FULL, fails
from PIL import Image
from small_plans import small_plan
from sparsebp.errors import PlanFileError, TrainingDiverged
from sparsebp.runtime import Session, watch
from sparsebp.runtime.seen_pictures import SeenPictures
from sparsebp.runtime.stop import StopRequest
from training import one_thread  # noqa: F401
from watched import Steps, folder, interrupt, plan, put, watched

__all__ = ["folder", "plan"]  # fixtures


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


def test_a_folder_that_is_gone_for_a_while_is_waited_for(plan: Path, folder: Path) -> None:
    put(folder, "ant", 3)
    away = folder.with_name("away")

    def unplug(step: int) -> None:
        if step == 3:
            folder.rename(away)
            threading.Timer(0.7, come_back).start()

    def come_back() -> None:
        away.rename(folder)
        put(folder, "bee", 2)

    session = Steps(plan, unplug)
    said = watched(session, folder, stop_after=5)
    assert len(session.labels) == 5
    assert sum("waits for it" in line for line in said) == 1
