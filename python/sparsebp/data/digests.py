"""SHA-256 and BLAKE2b without OpenSSL, whose library is a tenth of what a board's whole process takes.

Python has both built in; ``hashlib`` prefers OpenSSL's.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashlib import blake2b, sha256


def _built_in(name: str, *modules: str) -> Any:
    """The constructor of a hash; which module has it differs between versions of Python."""
    for module in (*modules, "hashlib"):
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this Python has no {name}")


if not TYPE_CHECKING:
    sha256 = _built_in("sha256", "_sha2", "_sha256")
    blake2b = _built_in("blake2b", "_blake2")

__all__ = ["blake2b", "sha256"]
