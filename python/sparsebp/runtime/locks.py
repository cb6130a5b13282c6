"""Locks that keep processes from writing the same file; the system drops them when a process ends, however it ends.

On a file system without locks, as some over a network are, processes are not kept apart.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def lock(handle: int) -> bool:
    """Locks an open file until it is closed; False if somebody else has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)  # any other: there are no locks here
    return True


_held: set[tuple[int, Path]] = set()
"""Threads of this process, and the locks that they have."""


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Inside, nobody else who asks for it writes ``out``; inside of that, the same thread may ask again.

    What is locked is ``.OUT.lock`` beside it, as every save puts another file in the place of ``out``. A kill leaves
    the file and not its lock.

    Raises:
        ValueError: somebody else writes it.
        OSError: its folder cannot be written.
    """
    if out.exists() and not out.is_file():  # a device or a pipe takes whatever comes
        yield
        return
    path = out.with_name(f".{out.name}.lock")
    me = (threading.get_ident(), path.absolute())
    if me in _held:
        yield
        return
    handle = _locked(path)
    if handle is None:
        raise ValueError(f"out: another run writes {out}; wait until it ends, or give another file")
    _held.add(me)
    try:
        yield
    finally:
        _held.discard(me)
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _locked(path: Path) -> int | None:
    """The file, opened and locked; None if somebody else has it."""
    while True:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        if not lock(handle):
            os.close(handle)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)  # its owner removed it between the two calls
