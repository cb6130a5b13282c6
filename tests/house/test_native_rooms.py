"""The rooms of csrc: which may include from which, and no circle of includes between any two files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from arrows import circle, wrong_arrows

CSRC = Path(__file__).parents[2] / "csrc"

# What a room may include from, beside itself.
ARROWS = {
    "core": set(),
    "platform": {"core"},
    "kernels": {"core"},
    "isa": {"core", "platform", "kernels"},
    "spec": {"core", "kernels"},
    "program": {"core", "platform", "kernels", "isa", "spec"},
    "cuda": {"core", "kernels", "spec", "program"},
    "training": {"core", "platform", "kernels", "spec", "program"},
    "api": {"core", "platform", "spec", "program", "training"},
    "bindings": {"core", "platform", "kernels", "isa", "spec", "program", "cuda", "training", "api"},
}
MOST_LINES = 300


def source_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in {".c", ".cpp", ".h", ".cu", ".cuh"})


def included(folder: Path) -> dict[str, set[str]]:
    """What each file of `folder` includes of the others, by their paths in it."""
    files = {p.relative_to(folder).as_posix(): p.read_text() for p in source_files(folder)}
    found = {name: set(re.findall(r'^ *# *include "([^"]+)"', text, re.MULTILINE)) for name, text in files.items()}
    return {name: names & files.keys() for name, names in found.items()}


def room(name: str) -> str:
    return name.split("/")[0]


def test_rooms_include_only_what_lies_below_them() -> None:
    assert {p.name for p in CSRC.iterdir()} == ARROWS.keys()
    assert wrong_arrows(included(CSRC), ARROWS, room) == []


def test_no_files_include_each_other_in_a_circle() -> None:
    assert circle(included(CSRC)) == []


def test_no_file_is_longer_than_a_few_screens() -> None:
    lines = {p.relative_to(CSRC).as_posix(): len(p.read_text().splitlines()) for p in source_files(CSRC)}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A file in core and one in program that includes it."""
    for name, text in {"core/a.h": "", "program/b.h": '#include "core/a.h"\n'}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    return tmp_path


def test_an_arrow_upwards_is_found(house: Path) -> None:
    assert wrong_arrows(included(house), ARROWS, room) == []
    (house / "core/a.h").write_text('#include "program/b.h"\n')
    assert wrong_arrows(included(house), ARROWS, room) == ["core/a.h uses program/b.h"]


def test_a_circle_is_found(house: Path) -> None:
    (house / "program/b.h").write_text('#include "program/c.h"\n')
    (house / "program/c.h").write_text('#include "core/a.h"\n#include "program/b.h"\n')
    assert circle(included(house)) == ["program/b.h", "program/c.h"]
