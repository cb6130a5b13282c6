"""A checkpoint is there as a whole or not at all, and one that is damaged is refused with a reason."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import rewritten
from failing_disk import FULL, fails
from runs import finetune, names
from sparsebp.finetuning import CheckpointError, checkpoint
from sparsebp.finetuning.checkpoint import Checkpoint

FILES = ("weights.safetensors", "training.safetensors", "state.json")


def small(step: int = 1) -> Checkpoint:
    weights = {"conv.weight": torch.full((2, 3), float(step)).t(), "norm.count": torch.tensor(step)}
    return Checkpoint(weights, {"arena.indices": torch.arange(4)}, {"position": {"step": step}, "pairs": [(1, 0.1)]})


def assert_holds(path: Path, step: int) -> None:
    found = checkpoint.read(path)
    assert torch.equal(found.weights["conv.weight"], torch.full((3, 2), float(step)))
    assert torch.equal(found.training["arena.indices"], torch.arange(4))
    assert found.facts == {"position": {"step": step}, "pairs": [[1, 0.1]]}


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return checkpoint.write(tmp_path, small())


# -- writing -------------------------------------------------------------------------------------


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "none") is None


def test_what_is_written_is_read(one: Path) -> None:
    assert_holds(one, 1)
    assert names(one) == set(FILES)


def test_checkpoints_are_numbered_and_only_the_newest_stays(tmp_path: Path) -> None:
    made = [checkpoint.write(tmp_path, small(i)).name for i in range(1, 12)]
    assert made[:2] == ["checkpoint-000001", "checkpoint-000002"]
    assert names(tmp_path) == {"checkpoint-000011"}
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoint-000011"
    assert_holds(tmp_path / "checkpoint-000011", 11)


def test_numbers_may_grow_longer_than_their_zeros(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, small()).rename(tmp_path / "checkpoint-999999")
    assert checkpoint.write(tmp_path, small(2)).name == "checkpoint-1000000"
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoint-1000000"


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    others = ["checkpoint-7", "checkpoint-old", "checkpoint-", "notes.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "checkpoint-000003.bak").mkdir()
    checkpoint.write(tmp_path, small(1))
    assert checkpoint.write(tmp_path, small(2)).name == "checkpoint-000002"
    assert names(tmp_path) == {*others, "checkpoint-000003.bak", "checkpoint-000002"}


def test_writing_goes_on_where_a_kill_left_two(tmp_path: Path) -> None:
    """Killed after the new one appeared and before the old one went."""
    old = checkpoint.write(tmp_path, small(1))
    kept = tmp_path / "kept"
    shutil.copytree(old, kept)
    checkpoint.write(tmp_path, small(2))
    kept.rename(old)
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoint-000002"
    checkpoint.write(tmp_path, small(3))
    assert names(tmp_path) == {"checkpoint-000003"}


@pytest.mark.parametrize("function", ["os.rename", "os.fsync", "shutil.rmtree", "os.rmdir", "os.unlink"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_what_a_kill_leaves_half_done_is_gone_after_the_next_checkpoint(
    function: str, before: bool, tmp_path: Path
) -> None:
    """Each child process dies just before, or just after, the n-th call of a function that changes the folder."""
    died = 0
    for call in range(1, 8):
        out = tmp_path / str(call)
        out.mkdir()
        checkpoint.write(out, small(1))
        died += _write_and_die(out, function, call, before)
        newest = checkpoint.latest(out)
        assert newest is not None
        assert_holds(newest, 2 if newest.name.endswith("2") else 1)
        checkpoint.write(out, small(3))
        last = checkpoint.latest(out)
        assert last is not None
        assert_holds(last, 3)
        assert names(out) == {last.name}, f"call {call} of {function}"
    assert died, f"{function} was never called"


def _write_and_die(out: Path, function: str, call: int, before: bool) -> bool:
    module = {"os": os, "shutil": shutil}[function.split(".")[0]]
    name = function.split(".")[1]
    real, calls = getattr(module, name), 0

    def deadly(*args: Any, **rest: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and before:
            os._exit(7)
        result = real(*args, **rest)
        if calls == call:
            os._exit(7)
        return result

    child = os.fork()
    if child == 0:
        try:
            setattr(module, name, deadly)
            checkpoint.write(out, small(2))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


FAILURES = [("fsync", at, FULL) for at in (1, 2, 3, 4)] + [("rename", 1, FULL), ("fsync", 2, KeyboardInterrupt())]


@pytest.mark.parametrize(("function", "at", "error"), FAILURES)
def test_a_write_that_fails_leaves_the_earlier_checkpoint_and_nothing_else(
    function: str, at: int, error: BaseException, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fails(patch, function, at, error)
        with pytest.raises(type(error)):
            checkpoint.write(one.parent, small(2))
    assert names(one.parent) == {one.name}
    assert_holds(one, 1)
    assert_holds(checkpoint.write(one.parent, small(2)), 2)


def test_a_full_disk_is_named_with_its_file(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own error of a write or fsync that fails has no file name."""
    fails(monkeypatch, "fsync", 1, FULL)
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.write(one.parent, small(2))
    assert caught.value.filename is not None
    assert str(one.parent) in str(caught.value.filename)


def test_a_run_whose_disk_is_full_keeps_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fails(patch, "fsync", 12, FULL)
        with pytest.raises(OSError, match="No space left"):
            finetune(tmp_path, checkpoint_every=1)
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert names(tmp_path) == {newest.name}
    assert checkpoint.read(newest).facts["position"]["step"] == 1
    finetune(tmp_path, resume=True)


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_never_taken_for_what_was_written(name: str, one: Path) -> None:
    """Refused by name; in JSON a bit may also change the spelling (1e5, 1E5) of the same content."""
    data = (one / name).read_bytes()
    whole = checkpoint.read(one).facts
    chance = random.Random(0)
    for at in sorted(chance.sample(range(len(data)), min(len(data), 400))):
        bit = 1 << chance.randrange(8)
        (one / name).write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        try:
            accepted = checkpoint.read(one).facts == whole and name == "state.json"
        except CheckpointError as error:
            accepted = f"{name}: " in str(error)
        assert accepted, f"byte {at}, bit {bit}"


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused_by_name(name: str, one: Path) -> None:
    data = (one / name).read_bytes()
    for length in {0, 1, 7, 8, 9, len(data) // 2, len(data) - 2}:
        (one / name).write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=name):
            checkpoint.read(one)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(name: str, one: Path) -> None:
    (one / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: cannot be read \(No such file"):
        checkpoint.read(one)


FOREIGN = {
    "a list": (b"[1, 2]", "not a checkpoint of sparsebp"),
    "another program's": (b'{"format": "lightning", "version": 1}', "not a checkpoint of sparsebp"),
    "newer": (b'{"format": "sparsebp checkpoint", "version": 99}', "version 99 of the format, this sparsebp reads"),
    "without sums": (b'{"format": "sparsebp checkpoint", "version": 2}', "SHA-256"),
    "text": (b"hello", "not valid JSON"),
    "no text": (b"\xff\xfe\x80\x00", "not valid JSON"),
    "nested without end": (b"[" * 200_000, "not valid JSON"),
    "numbers without end": (b"9" * 10_000, "not"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_state_is_refused_with_a_reason(kind: str, one: Path) -> None:
    content, reason = FOREIGN[kind]
    (one / "state.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.json: ") as caught:
        checkpoint.read(one)
    assert reason in str(caught.value)


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", FILES[:2])
def test_a_pickle_inside_is_refused_and_never_executed(name: str, one: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for data in (pickle.dumps(Payload(mark)), b"\x08\0\0\0\0\0\0\0" + pickle.dumps(Payload(mark))):
        rewritten(one, name, data)
        with pytest.raises(CheckpointError, match=f"{name}: not a safetensors file"):
            checkpoint.read(one)
    assert not mark.exists()
