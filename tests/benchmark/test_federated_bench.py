"""bench/federated.py and bench/federated_scale.py: tables and pictures of results, and what a server takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "results" / "federated"


def bench(name: str, *arguments: str | Path) -> str:
    """What a command of bench prints."""
    command = [sys.executable, ROOT / "bench" / name, *arguments]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_has_the_table_of_the_kept_results() -> None:
    table = bench("federated.py", "table", "--out", KEPT)
    assert len(table.splitlines()) == 6
    assert table in (ROOT / "docs" / "more-machines.md").read_text()


def test_results_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    bench("federated.py", "plot", "--out", KEPT, "--to", tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 10_000


def test_what_a_server_takes_is_measured() -> None:
    lines = bench("federated_scale.py", "--clients", "2", "20").splitlines()
    few, many = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert (few[0], many[0]) == ("2", "20")
    assert float(many[2].split()[0]) < 2000  # KB more than before the first reply
    assert "KB" in many[2] or many[2] == "0 B"


@pytest.mark.parametrize("way", ["sets", "classifier", "span", "one machine"])
def test_kept_results_are_whole(way: str) -> None:
    lines = [json.loads(line) for line in (KEPT / "results.jsonl").read_text().splitlines()]
    own = [line for line in lines if line["way"] == way]
    assert own
    for result in own:
        rounds = result["setting"]["rounds"]
        assert [len(result[key]) for key in ("accuracy", "bytes_down", "bytes_up")] == [rounds] * 3
