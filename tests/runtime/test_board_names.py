"""``sparsebp-runtime``: names that are no text or no line, files that are no pictures, output that is closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from board_runs import environment, words, write_both, write_plan

WITHOUT_PILLOW = "import sys; sys.modules['PIL'] = None; from sparsebp.runtime.command import main; main()"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan(tmp_path_factory.mktemp("plan") / "plan.safetensors")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next(write_both(tmp_path_factory.mktemp("pictures") / "set").rglob("*.png"))


def run(program: list[str], encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    """Output in ``encoding``, which is strict as in a system's own language."""
    surroundings = {**environment(), "PYTHONIOENCODING": f"{encoding}:strict"}
    return subprocess.run(program, capture_output=True, env=surroundings, timeout=100, check=False)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_that_is_no_text_is_written_with_escapes(
    plan: Path, picture: Path, tmp_path: Path, encoding: str
) -> None:
    strange = os.fsencode(tmp_path) + b"/b\xffd.png"
    with open(strange, "wb") as stream:
        stream.write(picture.read_bytes())
    done = run([*words("predict", plan), os.fsdecode(strange)], encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"b\\udcffd.png: " in done.stdout


def test_names_that_would_end_a_line_or_command_a_terminal_are_written_with_escapes(
    picture: Path, tmp_path: Path
) -> None:
    classes = ("red\nblue", "b\x1b[2Jlue", "tab\there", "grün")
    plan = write_plan(tmp_path / "plan", classes=classes)
    good, bad = tmp_path / "two\nlines.png", tmp_path / "no\rpicture.png"
    good.write_bytes(picture.read_bytes())
    bad.write_bytes(b"text")
    done = run([*words("predict", plan), str(good), str(bad), "--top", "4"])
    shown = done.stdout.decode().splitlines()
    assert len(shown) == 1
    assert shown[0].startswith(f"{tmp_path}/two\\nlines.png: ")
    assert all(name in shown[0] for name in ("red\\nblue ", "b\\x1b[2Jlue ", "tab\\there ", "grün "))
    assert done.stderr.decode().startswith(f"sparsebp-runtime: {tmp_path}/no\\rpicture.png: ")
    assert done.stderr.count(b"\n") == 1
    assert b"\r" not in done.stderr
    (line,) = run([*words("predict", plan), str(good), "--json"]).stdout.splitlines()
    assert set(json.loads(line)["probabilities"]) == set(classes)
    assert (
        run(words("info", plan)).stdout.splitlines()[0].decode().endswith("red\\nblue, b\\x1b[2Jlue, tab\\there, grün")
    )


@pytest.mark.parametrize("pillow", [True, False])
def test_what_is_no_picture_is_named_and_the_others_are_recognised(plan: Path, tmp_path: Path, pillow: bool) -> None:
    pipe, folder, vast, good = (tmp_path / name for name in ("pipe.ppm", "folder.ppm", "vast.npy", "good.ppm"))
    os.mkfifo(pipe)
    folder.mkdir()
    np.save(vast, np.zeros((10, 10, 3), np.uint8))
    vast.write_bytes(vast.read_bytes().replace(b"(10, 10, 3), }" + b" " * 12, b"(999999999, 999999999, 3)}", 1))
    good.write_bytes(b"P6 2 2 255\n" + bytes(12))
    program = words("predict") if pillow else [sys.executable, "-c", WITHOUT_PILLOW, "predict"]
    done = run([*program, *map(str, (plan, pipe, folder, vast, good))])
    named = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert [line.partition(": ")[2].partition(":")[0] for line in named] == [str(pipe), str(folder), str(vast)]
    assert named[0].endswith("it is no regular file")
    assert named[1].endswith("it is a folder")
    assert done.stdout.startswith(str(good).encode())


def test_closed_output_is_no_fault(plan: Path, picture: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *words("predict", plan, picture)],
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
