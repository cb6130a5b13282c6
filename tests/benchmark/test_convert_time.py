"""How long ``convert`` takes: the first call of every process by itself, medians of what was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "bench"))

import convert_time


def test_first_calls_and_later_ones_are_told_apart() -> None:
    runs = [[3.0, 1.0, 1.2], [5.0, 1.1, 9.0], [4.0, 1.0, 1.3]]
    assert convert_time.table({128: runs}).splitlines()[-1] == "| 128 | 4.00 | 1.15 |"


def test_the_command_measures_in_processes_of_their_own() -> None:
    command = [sys.executable, convert_time.__file__, "32", "--processes", "1", "--calls", "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    _, size, first, later, _ = done.stdout.splitlines()[-1].split("|")
    assert size.strip() == "32"
    assert 0 < float(later) < 60
    assert 0 < float(first) < 60
