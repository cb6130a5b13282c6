"""Checkpoints that somebody has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def rewritten(path: Path, name: str, data: bytes, change: Callable[[dict[str, Any]], None] = lambda s: None) -> None:
    """Replaces a file and makes every sum right again, as somebody could who wants it read."""
    state = json.loads((path / "state.json").read_bytes())
    del state["sha256"]
    change(state)
    if name != "state.json":
        (path / name).write_bytes(data)
        state["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    state["sha256"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (path / "state.json").write_text(json.dumps(state))
