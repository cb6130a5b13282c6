"""What there is to say of a plan file that was just written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.dataset import listed
from ..runtime import Session


def sizes_of(file: Path) -> list[tuple[str, str]]:
    """In words: classes and bytes."""
    session = Session(file)
    sizes, classes = session.sizes, session.classes
    spare = sizes.outputs - sizes.classes
    names = f": {listed(classes)}" if classes is not None else ", without names"
    return [
        ("classes", f"{sizes.classes}{names}{f', and {spare} spare' if spare else ''}"),
        ("arena", f"{sizes.arena_bytes:,} of {sizes.budget_bytes:,} bytes{', all of a step' * sizes.whole_step}"),
        *([] if sizes.whole_step else [("workspace", f"{sizes.workspace_bytes:,} bytes")]),
        ("file", f"{file}: {sizes.file_bytes:,} bytes"),
    ]


def facts_of(file: Path) -> dict[str, Any]:
    """As plain data."""
    session = Session(file)
    return {
        "file": str(file),
        **vars(session.sizes),
        "names": session.classes,
        "batches": session.progress.batches,
    }
