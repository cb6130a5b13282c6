"""What a board's run leaves unloaded, for the memory that it would take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from board_runs import environment, pictures, plan

__all__ = ["pictures", "plan"]  # fixtures

#: Runs the command as the arguments say, and prints the modules that are loaded then.
PROGRAM = """
import json, sys
from sparsebp.runtime.command import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print(json.dumps(list(sys.modules)))
"""
#: Masked arrays (1.6 MB), what unpacks archives (0.5 MB), OpenSSL (4 MB), numpy's generators, and the PC's packages.
UNWANTED = {"numpy.ma", "bz2", "lzma", "shutil", "_hashlib", "numpy.random", "torch", "typer", "asyncio"}


def loaded(*words: object) -> set[str]:
    """Modules that are loaded after the command; pictures are PNGs, read with Pillow."""
    call = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(call, capture_output=True, text=True, env=environment(), timeout=300, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "way",
    [("--data", "--steps", 3), ("--watch", "--stop-after", 3, "--reservoir", "64KB")],
    ids=["on a folder", "as pictures come"],
)
def test_training_loads_no_more_than_it_needs(
    plan: Path, pictures: Path, tmp_path: Path, way: tuple[object, ...]
) -> None:
    option, *more = way
    there = loaded("train", plan, option, pictures / "train", "--out", tmp_path / "out", *more)
    assert "PIL.Image" in there
    assert sorted(there & UNWANTED) == []
    assert sorted(there & {f"sparsebp.data.{name}" for name in ("cifar", "idx", "npz")}) == []


def test_predicting_loads_no_more_than_it_needs(plan: Path, pictures: Path) -> None:
    there = loaded("predict", plan, next(pictures.rglob("*.png")))
    assert sorted(there & UNWANTED) == []
