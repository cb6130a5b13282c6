"""The table of networks: one that trains, one that is refused, one that fails, each in a line."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"
sys.path.append(str(BENCH))  # behind the tests' helpers, which have a module of the same name

import network_tables  # noqa: E402

_spec = importlib.util.spec_from_file_location("networks_bench", BENCH / "networks.py")
assert _spec is not None
assert _spec.loader is not None
networks = importlib.util.module_from_spec(_spec)
sys.modules["networks_bench"] = networks
_spec.loader.exec_module(networks)

WHOLE, FAILED = "user.DS-CNN keywords, 2d", "user.broken"


def test_the_command_measures_and_writes_its_table_behind_what_a_file_says(tmp_path: Path) -> None:
    numbers, page = tmp_path / "numbers.json", tmp_path / "page.md"
    page.write_text(f"# Networks\n\n{network_tables.BEGIN}\n\nan older table\n")
    command = [sys.executable, networks.__file__, WHOLE, "--json", str(numbers), "--markdown", str(page)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    row = json.loads(numbers.read_text())[WHOLE]
    assert row["native"] == row["layers"] == 10
    assert row["predicted"] == row["measured"] > 0
    assert row["error"] < 1e-5
    text = page.read_text()
    assert text.startswith(f"# Networks\n\n{network_tables.BEGIN}\n\nOf 1 networks 1 run wholly natively")
    assert "an older table" not in text
    assert "| DS-CNN keywords, 2d | user | 1x49x10 | 10 / 10 |" in text


def test_a_network_that_fails_is_a_line_with_the_reason(tmp_path: Path) -> None:
    row = networks.row_of_its_own(FAILED, 60)
    assert row == {"failed": "KeyError: 'broken'"}
    assert network_tables.summary({FAILED: row}).startswith("Of 1 networks 0 run wholly natively")
    assert network_tables.cells(FAILED, row)[-1] == "failed: KeyError: 'broken'"


def test_a_network_that_takes_too_long_is_stopped() -> None:
    assert networks.row_of_its_own(WHOLE, 0.0) == {"failed": "took more than 0 seconds"}
