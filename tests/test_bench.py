"""The benchmark runs, compares like with like, and writes what it printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "bench" / "backward_speed.py"


def test_a_short_run_times_layers_and_steps(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    options = ["--layers", "features.17.*", "--size", "64", "--batch", "1", "--repeats", "1", "--threads", "1"]
    command = [sys.executable, str(BENCH), *options, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "sparsebp" in done.stdout
    result = json.loads(file.read_text())
    assert result["layers"], "no layer was timed"
    assert result["steps"], "no step was timed"


def test_a_pattern_without_a_layer_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--layers", "nonsense"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr
