"""The torch that boards get is one everywhere: in the page that installs it, in the emulated check, in the package."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/on-a-board.md").read_text()


def pinned(text: str) -> set[str]:
    return set(re.findall(r"\btorch==([\d.]+)", text))


def test_the_page_installs_what_the_check_ran() -> None:
    assert pinned(PAGE) == pinned((ROOT / "cross/board-requirements.txt").read_text())
    (version,) = pinned(PAGE)
    assert f"**{version}**" in PAGE, "the table of processors marks another"


def test_the_page_has_every_processor_that_the_check_emulates() -> None:
    (boards,) = re.findall(r"^BOARDS := (.*)$", (ROOT / "cross/rules.mk").read_text(), re.MULTILINE)
    for processor in boards.split():
        assert re.search(rf"^\| {processor} ", PAGE, re.MULTILINE | re.IGNORECASE), processor


def test_the_package_accepts_every_torch_that_is_pinned() -> None:
    (accepted,) = re.findall(r'"torch([<>=!~][^"]*)"', (ROOT / "pyproject.toml").read_text())
    ours = pinned((ROOT / "constraints.txt").read_text())
    for version in pinned(PAGE) | ours:
        assert Version(version) in SpecifierSet(accepted)
