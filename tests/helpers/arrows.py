"""Who uses whom: files, the rooms that they are in, and which arrows between them are wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

#: What each file uses of the others.
Uses = Mapping[str, set[str]]


def wrong_arrows(uses: Uses, allowed: Mapping[str, set[str]], room: Callable[[str], str]) -> list[str]:
    """Files that use a file of a room that theirs may not use; ``allowed`` says which a room may, beside itself."""
    return [
        f"{name} uses {other}"
        for name, others in sorted(uses.items())
        for other in sorted(others)
        if room(other) != room(name) and room(other) not in allowed[room(name)]
    ]


def circle(uses: Uses) -> list[str]:
    """Files that use each other in a circle, or nothing."""
    done: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        found = next(filter(None, (search(other, [*path, name]) for other in sorted(uses[name]))), [])
        done.add(name)
        return found

    return next(filter(None, (search(name, []) for name in sorted(uses))), [])
