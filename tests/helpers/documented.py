"""What the pages show: blocks of commands, blocks of Python, and commands in the middle of a sentence."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = ("sparsebp", "sparsebp-runtime")
#: A block without a language is one of commands if its first line begins with one of these.
PROGRAMS = {*OURS, "make", "python", "python3", "pip", "cmake", "adapt", "scp", "taskset", "torchrun", "."}
SHELL = {"sh", "bash", "shell", "console"}


@dataclass(frozen=True)
class Command:
    """One command: ``words`` as a shell splits them, without comments and without what sets variables."""

    page: Path
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {' '.join(self.words)}"

    def ours(self) -> list[str] | None:
        """The command as a call of ``sparsebp`` or ``sparsebp-runtime``, or None if it is neither.

        What may be left out or repeated, ``[PLAN]`` or ``PICTURE...``, is there once; ``...`` alone stays.
        """
        words = list(self.words[3:] if self.words[:2] == ("taskset", "-c") else self.words)
        if words[:3] == ["python", "-m", "sparsebp.runtime"]:
            words[:3] = ["sparsebp-runtime"]
        if words[0] not in OURS:
            return None
        return [word if word == "..." else re.sub(r"^\[|\]$|\.\.\.$", "", word) for word in words]


@dataclass(frozen=True)
class Block:
    """A block of code and the line that it begins in; ``language`` is "" where the page names none."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def is_shell(self) -> bool:
        lines = [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]
        return self.language in SHELL or (not self.language and bool(lines) and _begins_with_program(lines[0]))

    def commands(self) -> list[Command]:
        """The commands of a shell block, in order; of a console's those behind a prompt."""
        found, lines = [], self.text.replace("\\\n", " \0").split("\n")
        number = self.line
        for line in lines:
            text = line.replace("\0", "")
            if self.language != "console" or text.startswith("$ "):
                found += _split(self.page, number, text.removeprefix("$ "))
            number += 1 + line.count("\0")
        return found


def blocks(page: Path) -> list[Block]:
    """The fenced and the indented blocks of a page."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    at = 0
    while at < len(lines):
        begin, fence = at, re.match(r"```(\w*)", lines[at])
        if fence:
            at += 1
            while not lines[at].startswith("```"):
                at += 1
            found.append(Block(page, begin + 2, fence[1], "\n".join(lines[begin + 1 : at])))
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            while at + 1 < len(lines) and re.match(" {4}|$", lines[at + 1]):
                at += 1
            text = "\n".join(line[4:] for line in lines[begin : at + 1])
            found.append(Block(page, begin + 1, "", text.rstrip("\n")))
        at += 1
    return found


def commands(page: Path) -> list[Command]:
    """The commands of all shell blocks of a page."""
    return [command for block in blocks(page) if block.is_shell for command in block.commands()]


def mentioned(page: Path) -> Iterator[Command]:
    """Commands in the sentences and tables of a page, and options that stand alone: their words begin with ``--``."""
    inside = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        inside ^= line.startswith("```")
        for span in [] if inside or line.startswith("    ") else re.findall(r"`([^`]+)`", line):
            if span.startswith("--") or _begins_with_program(span):
                yield from _split(page, number, span)


def _begins_with_program(line: str) -> bool:
    words = re.sub(r"^(\$ )?([A-Z_]+=\S+ )*", "", line).split()
    return len(words) > 1 and words[0] in PROGRAMS


def _split(page: Path, number: int, text: str) -> list[Command]:
    reader = shlex.shlex(text, posix=True, punctuation_chars="&|;")
    reader.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in reader:
        if set(word) <= set("&|;"):
            parts.append([])
        elif parts[-1] or not re.match(r"[A-Z_]+=", word):
            parts[-1].append(word)
    return [Command(page, number, tuple(words)) for words in parts if words]
