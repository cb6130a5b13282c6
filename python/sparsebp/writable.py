"""Checking early that a result can be written late."""

from __future__ import annotations

import os
from pathlib import Path


def check_writable(file: Path, what: str) -> Path:
    """``file``, if it can be written; ``what`` names it in messages.

    Raises:
        OSError: there is no such folder, it cannot be written to, or ``file`` is a folder.
    """
    if file.is_dir():
        raise IsADirectoryError(f"{what}: {file} is a folder; expected a file")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"{what}: there is no folder {file.parent}")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise PermissionError(f"{what}: {file} cannot be written")
    return file
