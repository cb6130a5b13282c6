"""Where the tool writes: with boxes and colours in a terminal, plain ASCII lines anywhere else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import IO

from rich import box
from rich.console import Console, ConsoleDimensions, JustifyMethod
from rich.table import Table

#: Columns of what is no terminal: so many that no table is cut. Lines of text are not broken there anyway.
FILE_WIDTH = 1000


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether a person watches ``stream`` (standard output) in a terminal that can do more than print lines."""
    console = Console(file=stream or sys.stdout)
    return console.is_terminal and not console.is_dumb_terminal


class _Sober(Console):
    """A console that takes text as it is: no markup, nothing highlighted, and in a file no line broken."""

    def __init__(self, stderr: bool = False) -> None:
        fancy = is_terminal(sys.stderr if stderr else sys.stdout)
        super().__init__(stderr=stderr, soft_wrap=not fancy, markup=False, highlight=False, emoji=False)
        if not fancy:
            self.size = ConsoleDimensions(FILE_WIDTH, 25)  # both: with a width alone a dumb terminal has 80
        self._fancy = fancy

    @property
    def encoding(self) -> str:
        """Of what is written; claims ASCII in a file, so that rich draws tables without box characters."""
        return super().encoding if self._fancy else "ascii"

    def on_broken_pipe(self) -> None:
        """Leaves it to ``sparsebp.cli.errors.reported``."""
        raise  # what rich is handling


out = _Sober()
err = _Sober(stderr=True)


def table(title: str, *columns: str, right: int | None = None) -> Table:
    """An empty table that looks right in a terminal and in a file.

    Args:
        title: above it, left.
        columns: their headings.
        right: how many of the last columns hold numbers; all but the first if None.
    """
    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    numbers = len(columns) - 1 if right is None else right
    for i, column in enumerate(columns):
        justify: JustifyMethod = "right" if i >= len(columns) - numbers else "left"
        made.add_column(column, justify=justify, no_wrap=i == 0 or justify == "right")
    return made


NAME_WIDTH = 10
"""Least columns of the names, so that blocks of pairs printed one after the other line up."""


def print_pairs(rows: Iterable[tuple[str, str]]) -> None:
    """Names and values on standard output, one a line; in a terminal a long value goes on below itself."""
    rows = list(rows)
    if is_terminal():
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(min_width=NAME_WIDTH)
        grid.add_column()
        for name, value in rows:
            grid.add_row(name, value)
        out.print(grid)
        return
    width = max((len(name) for name, _ in rows), default=0)
    width = max(NAME_WIDTH, width) + 2
    for name, value in rows:
        out.print(f"{name:<{width}}{value}".rstrip())


def print_json(data: object) -> None:
    """``data`` as JSON on standard output."""
    out.out(json.dumps(data, indent=2), highlight=False)


def status(text: str) -> AbstractContextManager[object]:
    """A spinner with ``text`` on standard error while something takes long; a plain line in a file."""
    if is_terminal(sys.stderr):
        return err.status(text)
    err.print(text)
    return nullcontext()
