"""``sparsebp-runtime train`` and an OUT that another run has, had, or has not ended."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from board_runs import command, environment, pictures, plan, words
from sparsebp.runtime import Session, watch
from sparsebp.runtime.locks import only_writer
from sparsebp.runtime.stop import StopRequest

__all__ = ["pictures", "plan"]  # fixtures


@contextmanager
def running(*given: object) -> Iterator[subprocess.Popen[str]]:
    """The command, which has begun, perhaps behind what an earlier one saved, and is killed at the end."""
    process = subprocess.Popen(words(*given), stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    try:
        next(line for line in process.stdout if line.startswith(("before", "after")))
        yield process
    finally:
        process.kill()
        process.communicate()


def assert_refused(refused: subprocess.CompletedProcess[str], reason: str) -> None:
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert reason in refused.stderr


def in_another_thread(out: Path) -> None:
    def ask() -> None:
        with only_writer(out):
            pass

    with ThreadPoolExecutor() as pool:
        pool.submit(ask).result()


# -- two at once -------------------------------------------------------------------------------------


def test_two_runs_do_not_write_one_out_and_a_killed_one_does_not_keep_it(
    plan: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    on_folder = ("train", plan, "--data", pictures, "--out", out, "--steps", 100_000, "--resume")
    watching = ("train", plan, "--watch", pictures / "train", "--out", out, "--resume")
    with running(*on_folder):
        for second in (on_folder, watching):
            assert_refused(command(*second), f"--out: another run writes {out}; wait until it ends")
    with running(*on_folder):
        assert (tmp_path / ".out.lock").exists()
    anew = command("train", plan, "--data", pictures, "--out", out, "--steps", 2, "--overwrite")
    assert anew.returncode == 0, anew.stderr
    assert not (tmp_path / ".out.lock").exists()


def test_runs_with_an_out_of_their_own_do_not_disturb_each_other(plan: Path, pictures: Path, tmp_path: Path) -> None:
    with running("train", plan, "--data", pictures, "--out", tmp_path / "first", "--steps", 100_000):
        done = command("train", plan, "--data", pictures, "--out", tmp_path / "second", "--steps", 2)
        assert done.returncode == 0, done.stderr


def test_on_a_file_system_without_locks_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with only_writer(tmp_path / "out"):
        in_another_thread(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_a_file_that_was_just_removed_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking the run before may end, and remove the file."""
    real, calls = fcntl.flock, []

    def slow(handle: int, operation: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            (tmp_path / ".out.lock").unlink()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    with only_writer(tmp_path / "out"):
        assert len(calls) == 2
        with pytest.raises(ValueError, match="another run writes"):
            in_another_thread(tmp_path / "out")


def test_who_has_it_may_ask_again(tmp_path: Path) -> None:
    """A command holds it around all that it does, and what it calls holds it around its own."""
    with only_writer(tmp_path / "out"):
        with only_writer(tmp_path / "out"):
            pass
        with pytest.raises(ValueError, match="another run writes"):
            in_another_thread(tmp_path / "out")
    in_another_thread(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_has_no_writers_to_keep_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out")
    with only_writer(tmp_path / "out"):
        assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_whoever_else_writes_plan_files_waits_too(plan: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "out", plan.read_bytes()
    out.write_bytes(before)
    with only_writer(out):
        assert_refused(command("delta", "make", plan, plan, "--out", out), f"--out: another run writes {out}")
        assert_refused(command("delta", "apply", plan, plan, "--out", out), f"--out: another run writes {out}")
        with ThreadPoolExecutor() as pool, pytest.raises(ValueError, match=f"^out: another run writes {out}"):
            pool.submit(watch, Session(plan), tmp_path, out, stop=StopRequest(), stop_after=0).result()
    assert out.read_bytes() == before


# -- one after the other -----------------------------------------------------------------------------


def test_watching_does_not_go_on_with_a_run_that_has_not_ended(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out, note = tmp_path / "out", tmp_path / "out.run.json"
    with running("train", plan, "--data", pictures, "--out", out, "--steps", 100_000):
        pass
    begun = out.read_bytes(), note.read_bytes()
    for source in (plan, out):
        asked = ("train", source, "--watch", pictures / "train", "--out", out, "--stop-after", 2, "--resume")
        assert_refused(command(*asked), f"--out: {out} is of a run with --data that has not ended; end it, with --data")
        assert (out.read_bytes(), note.read_bytes()) == begun
    anew = command("train", plan, "--watch", pictures / "train", "--out", out, "--stop-after", 2, "--overwrite")
    assert anew.returncode == 0, anew.stderr
    assert not note.exists()
    assert Session(out).progress.batches == 2


def test_watching_goes_on_with_a_run_that_has_ended_which_then_has_no_end_to_go_on_to(
    plan: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    on_folder = ("train", plan, "--data", pictures, "--out", out, "--steps", 3, "--resume")
    assert command(*on_folder).returncode == 0
    done = command("train", plan, "--watch", pictures / "train", "--out", out, "--stop-after", 2, "--resume")
    assert done.returncode == 0, done.stderr
    assert Session(out).progress.batches == 5
    assert_refused(command(*on_folder), "belongs to no run that could be resumed; --overwrite replaces it")


def test_what_was_watched_is_not_known_to_a_run_that_begins_anew(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    watching = ("train", plan, "--watch", pictures / "train", "--out", out, "--resume", "--stop-after")
    assert command(*watching, 4).returncode == 0
    assert command("train", plan, "--data", pictures, "--out", out, "--steps", 9, "--overwrite").returncode == 0
    done = command(*watching, 24)
    assert done.returncode == 0, done.stderr
    assert "are known" not in done.stdout
    assert Session(out).progress.batches == 9 + 24


def test_a_run_in_place_leaves_what_was_watched_known(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    watching = ("train", plan, "--watch", pictures / "train", "--out", out, "--resume", "--stop-after")
    assert command(*watching, 4).returncode == 0
    assert command("train", out, "--data", pictures, "--out", out, "--steps", 3).returncode == 0
    assert json.loads((tmp_path / "out.run.json").read_text())["state"] == "done"
    assert "4 pictures are known" in command(*watching, 2).stdout
