"""What somebody may have meant who wrote a name that nothing has."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(name: str, names: Iterable[str], most: int = 1) -> str:
    """Up to ``most`` of ``names`` that look like ``name``, as the end of a message; empty if none does."""
    *others, last = [repr(found) for found in get_close_matches(name, list(names), most)] or [""]
    return f" (did you mean {' or '.join(filter(None, (', '.join(others), last)))}?)" if last else ""
