"""``sparsebp-runtime``: files that are no place to write to, are needed, are gone, or do not fit on the disk."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from board_runs import command, pictures, plan
from sparsebp.runtime import Session

__all__ = ["pictures", "plan"]  # fixtures


@pytest.fixture
def trained(plan: Path, tmp_path: Path) -> Path:
    session, out = Session(plan), tmp_path / "trained.safetensors"
    for _ in range(2):
        session.train(np.zeros((4, 16, 16, 3), np.uint8), [0, 1, 2, 3])
    session.save(out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def limit_files() -> None:
    """Files of more than 20,000 bytes cannot be written any more, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--out", "{at}/nowhere/out"), "--out: there is no folder"),
        (("--out", "{at}", "--overwrite"), "--out: {at} is a folder"),
        (("--out", "{at}/out", "--delta", "{at}/nowhere/delta"), "--delta: there is no folder"),
        (("--out", "{at}/out", "--delta", "{at}"), "--delta: {at} is a folder"),
        (("--out", "{at}/out", "--delta", "{at}/out"), "--delta: {at}/out would replace a file that is still needed"),
        (("--out", "{at}/out", "--delta", "{at}/plan"), "--delta: {at}/plan would replace a file"),
        (("--out", "{at}/out", "--replay", "3"), "--replay has no effect with --data"),
        (("--out", "{at}/out", "--patience", "3"), "--patience has no effect with --data"),
    ],
)
def test_a_wrong_place_is_refused_before_anything_is_written(
    plan: Path, pictures: Path, tmp_path: Path, more: tuple[str, ...], reason: str
) -> None:
    shutil.copy(plan, tmp_path / "plan")
    before = contents(tmp_path)
    options = [word.format(at=tmp_path) for word in more]
    refused = command("train", tmp_path / "plan", "--data", pictures, "--steps", 1, *options)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert reason.format(at=tmp_path) in refused.stderr
    assert contents(tmp_path) == before


def test_a_delta_replaces_none_of_the_files_that_it_is_made_of(plan: Path, trained: Path, tmp_path: Path) -> None:
    base, delta, link = tmp_path / "base", tmp_path / "delta", tmp_path / "link"
    shutil.copy(plan, base)
    assert command("delta", "make", base, trained, "--out", delta).returncode == 0
    link.symlink_to(trained)
    before = contents(tmp_path)
    for asked in (
        ("make", base, trained, "--out", base),
        ("make", base, trained, "--out", trained),
        ("make", base, trained, "--out", link),
        ("apply", base, delta, "--out", delta),
    ):
        refused = command("delta", *asked)
        assert refused.returncode == 2
        assert "would replace a file that is still needed" in refused.stderr
    assert contents(tmp_path) == before
    assert command("delta", "apply", base, delta, "--out", base).returncode == 0
    assert base.read_bytes() == trained.read_bytes()


def test_applied_deltas_do_not_replace_a_pipe(plan: Path, trained: Path, tmp_path: Path) -> None:
    delta, pipe = tmp_path / "delta", tmp_path / "pipe"
    os.mkfifo(pipe)
    assert command("delta", "make", plan, trained, "--out", delta).returncode == 0
    refused = command("delta", "apply", plan, delta, "--out", pipe)
    assert refused.returncode == 2
    assert "not to be replaced" in refused.stderr
    assert pipe.is_fifo()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("deltas", [1, 2])
def test_a_full_disk_is_a_failure_and_no_wrong_request(plan: Path, trained: Path, tmp_path: Path, deltas: int) -> None:
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    assert command("delta", "make", plan, trained, "--out", first).returncode == 0
    assert command("delta", "make", trained, trained, "--out", second).returncode == 0
    full = command("delta", "apply", plan, *(first, second)[:deltas], "--out", out, preexec_fn=limit_files)
    assert full.returncode == 1
    assert os.strerror(errno.EFBIG) in full.stderr
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_ends_training_with_one(plan: Path, pictures: Path, tmp_path: Path) -> None:
    full = command("train", plan, "--data", pictures, "--out", tmp_path / "out", "--steps", 2, preexec_fn=limit_files)
    assert full.returncode == 1
    assert full.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_whose_file_was_removed_begins_anew(plan: Path, pictures: Path, tmp_path: Path) -> None:
    asked = ("train", plan, "--data", pictures, "--out", tmp_path / "out", "--steps", 3, "--resume")
    assert command(*asked).returncode == 0
    before = (tmp_path / "out").read_bytes()
    (tmp_path / "out").unlink()
    assert command(*asked).returncode == 0
    assert (tmp_path / "out").read_bytes() == before


def test_a_run_that_has_ended_tells_once_what_it_came_to(plan: Path, pictures: Path, tmp_path: Path) -> None:
    asked = ("train", plan, "--data", pictures, "--out", tmp_path / "out", "--steps", 3, "--resume")
    after = command(*asked).stdout.splitlines()[-1]
    assert command(*asked).stdout.count(after) == 1


@pytest.mark.parametrize("asked", ["info", "predict", "train"])
def test_a_damaged_plan_is_named(plan: Path, pictures: Path, tmp_path: Path, asked: str) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(plan.read_bytes()[:-100])
    more = {"info": (), "predict": ("a.png",), "train": ("--data", pictures, "--out", tmp_path / "out")}[asked]
    refused = command(asked, cut, *more)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"sparsebp-runtime: {cut}: ")


def test_a_run_whose_file_something_else_trained_on_is_not_gone_on_with(
    plan: Path, pictures: Path, tmp_path: Path
) -> None:
    asked = ("train", plan, "--data", pictures, "--out", tmp_path / "out", "--steps", 2, "--resume")
    assert command(*asked).returncode == 0
    session = Session(tmp_path / "out")
    session.train(np.zeros((4, 16, 16, 3), np.uint8), [0, 1, 2, 3])
    session.save(tmp_path / "out")
    refused = command(*asked)
    assert refused.returncode == 2
    assert "something else has written it" in refused.stderr


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--reservoir", "64KB", "--reservoir-file", "{at}/out"), "would replace a file that is still needed"),
        (("--reservoir", "64KB", "--reservoir-file", "{at}/none/r"), "--reservoir-file: there is no folder"),
        (("--reservoir-file", "{at}/r"), "--reservoir-file has no effect without --reservoir"),
        (("--reservoir-kind", "uint8"), "--reservoir-kind has no effect without --reservoir"),
    ],
)
def test_a_reservoir_has_a_size_and_a_place_of_its_own(
    plan: Path, pictures: Path, tmp_path: Path, more: tuple[str, ...], reason: str
) -> None:
    options = [word.format(at=tmp_path) for word in more]
    refused = command("train", plan, "--watch", pictures / "train", "--out", tmp_path / "out", *options)
    assert refused.returncode == 2
    assert reason in refused.stderr
    assert contents(tmp_path) == {}


def test_a_pipe_is_no_plan_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = command("info", tmp_path / "pipe")
    assert done.returncode == 2
    assert "no file" in done.stderr
