"""Every command and every block of Python in README.md and docs/*.md runs, or a table says what runs it or why not.

The pages' own tests are stories: a page's commands and its Python run from top to bottom in one folder of tiny pictures
(``documented_place``). What they leave out stands in ``documented_elsewhere``.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import documented
import pytest
from documented import PAGES, ROOT, Block, Command
from documented_elsewhere import ELSEWHERE, NOT_HERE
from documented_names import called
from documented_place import furnish, given, shortened

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def elsewhere(command: Command) -> str | None:
    """The key in the table for a command that is left out."""
    begins = [key for key in ELSEWHERE if command.words[: len(key.split())] == tuple(key.split())]
    return max(begins, key=len, default=None)


# -- what runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("furnished")
    furnish(place)
    return place


def story(page: Path) -> list[Block]:
    return [block for block in documented.blocks(page) if block.is_shell or block.language == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if story(page)], ids=lambda page: page.name)
@pytest.mark.usefixtures("threads")  # which a command may change
def test_a_page_runs_from_top_to_bottom(
    page: Path, furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, names = tmp_path / "place", given()
    shutil.copytree(furnished, place)
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", list(sys.path))
    written: set[str] = set()
    for block in story(page):
        if block.is_shell:
            run_commands(block, written)
        elif not cannot_run(block.text):
            run_python(block, names)


def cannot_run(text: str) -> bool:
    return any(what in text for what in NOT_HERE)


def run_commands(block: Block, written: set[str]) -> None:
    for command in block.commands():
        words = command.ours()
        if words is None or "..." in words or cannot_run(" ".join(words)):
            continue
        words = shortened(words)
        make_room(words, written)
        code, said = called(words)
        assert code == 0, f"{command}\nran as: {' '.join(words)}\nexit code {code}\n{said}"


def make_room(words: list[str], written: set[str]) -> None:
    """Removes what lies where a command writes, unless it resumes what this page's own commands have ``written``."""
    for out in [words[at + 1] for at, word in enumerate(words) if word == "--out"]:
        assert Path(out).resolve().is_relative_to(Path.cwd()), f"--out {out}: expected a place in the current folder"
        if not ("--resume" in words and out in written):
            for place in (Path(f"{out}{ending}") for ending in ("", ".run.json", ".reservoir", ".seen")):
                if place.is_dir():
                    shutil.rmtree(place)
                place.unlink(missing_ok=True)
        written.add(out)


def run_python(block: Block, names: dict[str, Any]) -> None:
    code = "\n" * (block.line - 1) + block.text  # so that a traceback has the page's lines
    exec(compile(code, str(block.page), "exec"), names)


# -- what does not run --------------------------------------------------------------------------------


@pages
def test_what_does_not_run_is_in_the_table(page: Path) -> None:
    for command in documented.commands(page):
        assert command.ours() or elsewhere(command), (
            f"{command}: tests/helpers/documented_elsewhere.py has no entry for it; if it is no command, say so by "
            "```text instead of four spaces"
        )


@pages
def test_no_command_hides_in_a_block_of_text(page: Path) -> None:
    for block in documented.blocks(page):
        if not block.is_shell and not block.language:
            options = re.findall(r"(?m)^\S.* --[a-z][a-z-]+", block.text)
            assert not options, f"{page.name}:{block.line}: if these are commands, begin the block by ```sh: {options}"


def test_the_table_has_no_more_than_that() -> None:
    used = {elsewhere(command) for page in PAGES for command in documented.commands(page)}
    assert set(ELSEWHERE) - used == set(), "no page has these commands any more: take them out of the table"


@pytest.mark.parametrize("key", ELSEWHERE)
def test_what_the_table_refers_to_is_there(key: str) -> None:
    value = ELSEWHERE[key]
    file, found, name = value.partition("::")
    if found:
        assert f"\ndef {name}(" in (ROOT / file).read_text()
    elif value.startswith(".ci/run: "):
        assert value.removeprefix(".ci/run: ") in (ROOT / ".ci" / "run").read_text()
    else:
        assert " " in value, "expected a test, a line of .ci/run or a reason"


def test_the_tests_that_reasons_name_are_there() -> None:
    reasons = " ".join([*ELSEWHERE.values(), *NOT_HERE.values()])
    missing = [file for file in re.findall(r"tests/\S+\.py", reasons) if not (ROOT / file).exists()]
    assert missing == []


def test_python_that_does_not_run_is_python_at_least() -> None:
    for page in PAGES:
        for block in documented.blocks(page):
            if block.language == "python":
                compile(block.text, str(page), "exec")
