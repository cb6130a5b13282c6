"""Plan files from what a session saved of its changes."""

from __future__ import annotations

import os
from pathlib import Path

from .. import _C
from ..files import as_path


def make_delta(base: str | Path, new: str | Path, out: str | Path) -> None:
    """Writes what has changed from one plan file to another of the same plan, however the second came about.

    It holds the input channels of weights, and the other tensors, of which a bit differs, and the training state.

    Args:
        base, new: plan files, the second trained on from the first.
        out: the delta, whole or not at all.

    Raises:
        PlanFileError: a file is damaged, or they have different plans.
    """
    files = [as_path(base, "base"), as_path(new, "new"), as_path(out, "out")]
    _C.make_delta(*map(os.fspath, files))


def apply_delta(base: str | Path, delta: str | Path, out: str | Path) -> None:
    """Writes what ``base`` becomes with ``delta``: bit for bit the file that :meth:`.Session.save` would have written.

    Args:
        base: the plan file as it was when the session was opened or last saved.
        delta: what :meth:`.Session.save_delta` wrote; several are applied one after the other.
        out: the new file, whole or not at all; may be ``base``.

    Raises:
        PlanFileError: a file is damaged, or the delta continues another one.
    """
    files = [as_path(base, "base"), as_path(delta, "delta"), as_path(out, "out")]
    _C.apply_delta(*map(os.fspath, files))
