"""A file on the disk is the old one or the new one, whoever writes and is killed; what is no file stays what it is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from failing_disk import FULL, fails
from runs import names
from sparsebp import files


@pytest.mark.parametrize(("function", "at"), [("fsync", 1), ("replace", 1)])
def test_a_file_is_the_old_or_the_new_one(
    function: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.json"
    files.write_atomically(file, b"old")
    with monkeypatch.context() as patch:
        fails(patch, function, at, FULL)
        with pytest.raises(OSError, match="No space left"):
            files.write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == {"report.json"}
    files.write_atomically(file, b"new")
    assert file.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_device_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_atomically(pipe, b"new")
        assert os.read(reader, 99) == b"new"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


# -- several writers -------------------------------------------------------------------------------


def as_file(path: Path, text: str) -> None:
    files.write_atomically(path, text.encode())


def as_folder(path: Path, text: str) -> None:
    files.write_folder_atomically(path, {"text": text.encode()})


def content(path: Path) -> str:
    return (path / "text" if path.is_dir() else path).read_text()


kinds = pytest.mark.parametrize("write", [as_file, as_folder])


#: Writes in a process of its own, which stops when it has written but not finished, until it is told to go on.
HALFWAY = """
import os, sys
from pathlib import Path
from sparsebp import files
fsync = os.fsync
def stop(file):
    os.fsync = fsync
    print("written", flush=True)
    sys.stdin.readline()
os.fsync = stop
kind, path, text = sys.argv[1:]
if kind == "as_file":
    files.write_atomically(Path(path), text.encode())
else:
    files.write_folder_atomically(Path(path), {"text": text.encode()})
"""


def halfway(write: Callable[[Path, str], None], path: Path, text: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HALFWAY, write.__name__, str(path), text]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    return writer


@kinds
def test_what_a_killed_writer_left_is_removed_by_the_next(write: Callable[[Path, str], None], tmp_path: Path) -> None:
    path = tmp_path / "report [1]"
    for _ in range(2):
        writer = halfway(write, path, "killed")
        writer.kill()
        writer.communicate()
        (left,) = names(tmp_path)
        assert left.startswith(".report [1].")
        assert left.endswith(".partial")
    write(path, "new")
    assert names(tmp_path) == {path.name}
    assert content(path) == "new"


@kinds
def test_a_writer_at_work_in_another_process_is_left_alone(write: Callable[[Path, str], None], tmp_path: Path) -> None:
    path, moved = tmp_path / "report", tmp_path / "first"
    writer = halfway(write, path, "slow")
    write(path, "quick")
    assert content(path) == "quick"
    path.rename(moved)  # a folder takes the place of none
    writer.communicate("go on\n")
    assert writer.returncode == 0
    assert (content(path), content(moved)) == ("slow", "quick")
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_threads_that_write_one_file_leave_one_of_them_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are made to write before the first one finishes."""
    file, meet, fsync = tmp_path / "report", threading.Barrier(4), os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (fsync(handle), meet.wait(60)))
    raised: list[BaseException] = []

    def write(text: str) -> None:
        try:
            as_file(file, text)
        except BaseException as error:
            raised.append(error)

    texts = [str(i) * 10_000 * i for i in range(1, 5)]
    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert file.read_text() in texts
    assert names(tmp_path) == {"report"}
