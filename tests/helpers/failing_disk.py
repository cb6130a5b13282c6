"""A disk that is full at the moment a test chooses."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fails(monkeypatch: pytest.MonkeyPatch, function: str, at: int, error: BaseException) -> None:
    """Lets the ``at``-th call of a function of ``os`` fail."""
    real, calls = getattr(os, function), []

    def failing(*args: Any, **rest: Any) -> Any:
        calls.append(args)
        if len(calls) == at:
            raise error
        return real(*args, **rest)

    monkeypatch.setattr(os, function, failing)
