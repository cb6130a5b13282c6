"""Why a file is not read by ``torch.load(weights_only=True)``, and what to do about it."""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

_STATE_DICT = "Save model.state_dict() instead of the model: torch.save(model.state_dict(), 'weights.pt')"
_PICKLES_OF_OLD_FILES = 4
"""Magic number, version, facts about the machine, then the content."""


def reason(path: Path, error: Exception) -> str:
    """What ``error``, from ``torch.load(path)``, means; follows "weights: PATH is"."""
    text = str(error)
    if "TorchScript" in text:
        return f"a TorchScript archive, a program with its weights; loading it could execute code. {_STATE_DICT}"
    if not isinstance(error, pickle.UnpicklingError):
        return f"damaged or no PyTorch file ({(text.splitlines() or [type(error).__name__])[0]})"
    name = re.search(r"GLOBAL (\S+)", text)
    if name is not None:
        if _holds_module(path):
            return f"refused: it holds a whole module, {name[1]}, whose loading could execute code. {_STATE_DICT}"
        return (
            f"refused: it asks for {name[1]}, which is neither a tensor nor plain data, and loading it could execute "
            f"code (nothing was executed). Save the weights alone: torch.save(model.state_dict(), 'weights.pt')"
        )
    if "Unsupported operand" in text:
        return (
            "no file of plain tensors, or damaged, or written with another pickle_protocol than torch.save's own, the "
            "only one that is read without executing anything"
        )
    return (
        "no file of plain tensors, or damaged; only those are read, since loading anything else could execute code. "
        f"{_STATE_DICT}"
    )


def _holds_module(path: Path) -> bool:
    """Whether the file spells out the inside of a ``torch.nn.Module``. Reads its words only, and makes nothing."""
    words: set[str] = set()
    with suppress(Exception):  # a damaged file has no more words
        words.update(_words(path))
    return {"_modules", "_parameters"} <= words


def _words(path: Path) -> Iterator[str]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            for _ in range(_PICKLES_OF_OLD_FILES):
                yield from _strings(stream)
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                with archive.open(name) as stream:
                    yield from _strings(stream)


def _strings(stream: IO[bytes]) -> Iterator[str]:
    for _, argument, _ in pickletools.genops(stream):
        if isinstance(argument, str):
            yield argument
