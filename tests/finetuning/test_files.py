"""A file on the disk is the old one or the new one, and what is no file stays what it is."""

from __future__ import annotations

import os
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
