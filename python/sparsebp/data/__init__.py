"""From a path to pictures to batches for fine-tuning.

``open_dataset`` finds out what lies at a path, ``Preprocess`` says what the network wants, ``Loader`` reads in worker
processes. Only the last needs torch; each is loaded when it is first asked for. A board reads folders: what unpacks
archives is imported where that is done.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .augment import parse_augment
    from .broken import BrokenPicture
    from .combined import Subset
    from .dataset import DEFAULT_TEST_SHARE, Dataset
    from .levels import Levels
    from .loader import Batch, Loader
    from .opening import open_dataset, open_tests
    from .preprocess import Preprocess
    from .sources import Arrays, Encoded, Files, Source

__all__ = [
    "DEFAULT_TEST_SHARE",
    "Arrays",
    "Batch",
    "BrokenPicture",
    "Dataset",
    "Encoded",
    "Files",
    "Levels",
    "Loader",
    "Preprocess",
    "Source",
    "Subset",
    "open_dataset",
    "open_tests",
    "parse_augment",
]

#: Where each name is.
_NAMES = {
    "parse_augment": "augment",
    "Subset": "combined",
    **dict.fromkeys(("DEFAULT_TEST_SHARE", "Dataset"), "dataset"),
    "BrokenPicture": "broken",
    "Levels": "levels",
    **dict.fromkeys(("Batch", "Loader"), "loader"),
    **dict.fromkeys(("open_dataset", "open_tests"), "opening"),
    "Preprocess": "preprocess",
    **dict.fromkeys(("Arrays", "Encoded", "Files", "Source"), "sources"),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
