"""Counts of instructions: the table is read as it is printed, a rise is found, and a count repeats."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import sparsebp

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bench" / "instructions.py"
CASE, OTHER = ("gemm", "features.0.0"), ("mask", "features.1.conv.0.0")

#: A program like ``kernels --count``: ``measured`` executes a number of instructions that only the compiler knows, and
#: set-up before and output after it must not count.
STAND_IN = """
#include <cstdio>
#include <cstdlib>
#include <string>

extern "C" [[gnu::noinline]] void measured(volatile int* sum, int terms) {
  for (int i = 0; i < terms; ++i) *sum = *sum + i;
}

int main(int argc, char** argv) {
  volatile int sum = 0;
  for (int i = 0; i < std::rand() % 1000; ++i) sum = sum + i;
  int terms = 0;
  for (int i = 1; i < argc; ++i) terms = argv[i] == std::string("twice") ? 2000 : terms ? terms : 1000;
  measured(&sum, terms);
  std::printf("kernel,layer,multiply_adds\\ngemm,once,%d\\n", terms);
}
"""


def load() -> ModuleType:
    """``bench/instructions.py``, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("instructions", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


instructions = load()
Count = instructions.Count
COUNTS = {CASE: Count(1_234_567, 3_000_000), OTHER: Count(999, 0)}
RECORDED = {CASE: 1_234_567, OTHER: 999}


def test_the_table_is_read_as_it_is_printed() -> None:
    table = instructions.table(COUNTS)
    assert "| `gemm` | `features.0.0` | 1,234,567 | 0.412 |" in table
    assert "| `mask` | `features.1.conv.0.0` | 999 | - |" in table
    other = "| kernel | layer |\n|---|---|\n| `gemm` | 7 |\n"
    assert instructions.read_table(f"# Benchmarks\n\n{other}\nText.\n\n{table}\n\nMore.\n\n{other}") == RECORDED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Benchmarks\n", "no table with the heading"),
        (f"{instructions.HEADING}\n|---|---|---|---|\n| `gemm` | `x` | about 3 | 0.5 |", "about 3"),
        (f"{instructions.HEADING}\n|---|---|---|---|\n| `gemm` | `x` | 0 | 0.5 |", "expected a kernel"),
    ],
    ids=["no table", "words for a number", "nothing counted"],
)
def test_a_file_without_such_a_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        instructions.read_table(text)


@pytest.mark.parametrize(("now", "found"), [(1, 0), (1000, 0), (1050, 0), (1051, 1), (2000, 1)])
def test_a_count_may_be_five_percent_higher(now: int, found: int) -> None:
    lines = instructions.differences({CASE: Count(now, 5)}, {CASE: 1000})
    assert len(lines) == found
    assert all("gemm, features.0.0" in line and f"{now:,}" in line and "1,000" in line for line in lines)


def test_a_case_on_one_side_only_is_a_difference() -> None:
    assert instructions.differences(COUNTS, RECORDED) == []
    (line,) = instructions.differences(COUNTS, {CASE: 1_234_567})
    assert "mask" in line
    assert "none recorded" in line
    (line,) = instructions.differences({CASE: COUNTS[CASE]}, RECORDED)
    assert "mask" in line
    assert "not counted" in line


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check: Path | None) -> tuple[int, str]:
    """Exit status and error output of the command, whose counts are COUNTS."""
    monkeypatch.setattr(instructions, "CASES", tuple(COUNTS))
    monkeypatch.setattr(instructions, "count", lambda program, case: COUNTS[case])
    status = 0
    try:
        instructions.main(check=check)
    except instructions.typer.Exit as stop:
        status = stop.exit_code
    printed = capsys.readouterr()
    assert status == 2 or printed.out == instructions.table(COUNTS) + "\n"
    return status, printed.err


def test_the_check_passes_fails_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "README.md"
    assert run(monkeypatch, capsys, None) == (0, "")
    file.write_text(f"# Title\n\n{instructions.table(COUNTS)}\n")
    assert run(monkeypatch, capsys, file) == (0, "")
    file.write_text(instructions.table({CASE: Count(1_000_000, 1), OTHER: Count(999, 0)}))
    status, message = run(monkeypatch, capsys, file)
    assert status == 1
    assert message == "gemm, features.0.0: 1,234,567 counted, 1,000,000 recorded, 23.5% more\n"
    assert run(monkeypatch, capsys, tmp_path / "absent.md")[0] == 2
    file.write_text("nothing")
    assert run(monkeypatch, capsys, file)[0] == 2


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(instructions.CountError, match="valgrind is not installed"):
        instructions.count(tmp_path / "kernels", CASE)
    (tmp_path / "valgrind").write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    (tmp_path / "valgrind").chmod(0o755)
    with pytest.raises(instructions.CountError, match="`make kernels` builds it"):
        instructions.count(tmp_path / "kernels", CASE)
    (tmp_path / "kernels").touch()
    with pytest.raises(instructions.CountError, match="exits 3: out of order"):
        instructions.count(tmp_path / "kernels", CASE)


@pytest.fixture
def valgrind() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")


@pytest.mark.usefixtures("valgrind")
def test_what_is_measured_counts_and_nothing_else(tmp_path: Path) -> None:
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("no C++ compiler")
    source, program = tmp_path / "kernels.cpp", tmp_path / "kernels"
    source.write_text(STAND_IN)
    subprocess.run([compiler, "-std=c++17", "-O1", "-o", str(program), str(source)], check=True)
    once, again = (instructions.count(program, ("gemm", "once")) for _ in range(2))
    assert once == again
    assert 1000 <= once.instructions < 20_000
    assert once.multiply_adds == 1000
    twice = instructions.count(program, ("gemm", "twice"))
    assert twice.instructions == pytest.approx(2 * once.instructions, rel=0.01)


@pytest.mark.usefixtures("valgrind")
def test_a_kernel_takes_the_same_instructions_twice() -> None:
    if not instructions.PROGRAM.is_file():
        pytest.skip(f"{instructions.PROGRAM} is not built; `make kernels` does it")
    if instructions.ISA not in sparsebp._C.usable_isas():
        pytest.skip(f"this processor has no {instructions.ISA}")
    case = instructions.CASES[0]
    first, second = (instructions.count(instructions.PROGRAM, case) for _ in range(2))
    assert first == second
    assert 0.1 < first.instructions / first.multiply_adds < 10
