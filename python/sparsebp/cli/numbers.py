"""Parsers of options that are numbers: how many of something, or from where to where."""

from __future__ import annotations

import math
from collections.abc import Callable

import typer


def whole(least: int) -> Callable[[str | int], int]:
    """A typer parser of whole numbers from ``least`` on: how many, of whatever."""

    def parse(value: str | int) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if number < least:
            raise typer.BadParameter(f"expected a whole number of at least {least}, got {value!r}")
        return number

    return parse


def within(low: float, high: float) -> Callable[[str | float], float]:
    """A typer parser of numbers from ``low`` to ``high``."""

    def parse(value: str | float) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            expected = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
            raise typer.BadParameter(f"expected a number {expected}, got {value!r}")
        return number

    return parse
