"""Byte counts and seeds as people write them."""

from __future__ import annotations

import re
import sys

_FACTORS = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
_FACTORS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
# Fifteen digits are exact in a float, and more bytes than any machine has.
_PATTERN = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-zA-Z]+)\s*")


def parse_bytes(size: int | str, argument: str = "budget") -> int:
    """Bytes in ``size``: an int is bytes; ``"256KB"`` and ``"256KiB"`` are both 262 144.

    Raises:
        TypeError: neither an int nor a string.
        ValueError: not positive, not a whole number of bytes, more than can be addressed, or not understood.
    """
    expected = f"{argument}: expected whole bytes as a positive int or a string such as '256KB' or '1.5MB'"
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f"{expected}, got {type(size).__name__} {size!r}")
    if isinstance(size, int):
        if not 0 < size <= sys.maxsize:
            raise ValueError(f"{expected}, got {size}")
        return size
    match = _PATTERN.fullmatch(size)
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{expected}, got {size!r}")
    value = float(match[1]) * factor
    if not 1 <= value <= sys.maxsize or value != int(value):
        raise ValueError(f"{expected}, got {size!r}, which is {value} bytes")
    return int(value)


def format_bytes(count: int) -> str:
    """``262144`` as ``'256.0 KB'`` (powers of 1024)."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GB"


def check_seed(seed: int) -> int:
    """``seed`` if it is an int of 64 bits without a sign.

    Raises:
        TypeError, ValueError: it is not.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed: expected an int, got {type(seed).__name__} {seed!r}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed: expected 0 to 2**64 - 1, got {seed}")
    return seed
