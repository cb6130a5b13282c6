"""Options that several commands have, and their types."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The plan file that a command works on."""
    parser.add_argument("plan", type=Path, metavar="PLAN", help="a plan file, made by `sparsebp export` on a PC")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The number of threads; the results do not depend on it."""
    parser.add_argument(
        "--threads",
        type=whole(1, 64),
        metavar="N",
        help="threads to compute on (default: one for each processor that this process may use)",
    )


def whole(least: int, most: int = 2**63 - 1) -> Callable[[str], Any]:
    """A type for argparse: whole numbers in a range."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            upper = f" to {most}" if most < 2**63 - 1 else " or more"
            raise argparse.ArgumentTypeError(f"expected a whole number, {least}{upper}, got {text!r}")
        return value

    return number


def between(low: float, high: float) -> Callable[[str], Any]:
    """A type for argparse: numbers above ``low`` and below ``high``."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = low
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"expected a number above {low:g} and below {high:g}, got {text!r}")
        return value

    return number
