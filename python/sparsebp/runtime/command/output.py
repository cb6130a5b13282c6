"""Lines that stay lines, whatever names are in them."""

from __future__ import annotations

import sys


def shown(text: str) -> str:
    """``text`` on one line: what would end it, or would command a terminal, as Python writes it in a string."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(line: str) -> None:
    """Prints a line at once."""
    print(shown(line), flush=True)


def complain(line: str) -> None:
    """Prints a line on standard error, with the command's name before it."""
    print(f"sparsebp-runtime: {shown(line)}", file=sys.stderr, flush=True)
