"""Processes that read pictures: how they start, what they ignore, when they end."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import multiprocessing.util  # its own clean-up must be registered before ours, which then runs first
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch.utils.data

#: How worker processes start. Fork, where it can be had: it takes milliseconds instead of the seconds in which a fresh
#: interpreter imports torch, it copies no pictures, and it does not run the user's script again, which under spawn and
#: forkserver (Python 3.14's default) breaks every script without ``if __name__ == "__main__"``. What fork is feared
#: for, locks and thread pools that the child inherits without the threads, does not arise: a worker runs Pillow, numpy
#: indexing and pickling, never an OpenMP or BLAS region and never CUDA. On a Mac system libraries themselves do not
#: survive a fork, and Windows has none.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"

_STOPPED_BY_MAIN = (signal.SIGINT, signal.SIGTERM)
_POLL = 1.0  # seconds


class Reader(Protocol):
    """What a worker does. It must be picklable, and so must what it returns."""

    #: Shared by all processes. ``stop.value`` turns true when nobody waits for a result any more.
    stop: Any

    def __getitems__(self, indices: Sequence[int]) -> Any: ...


class Workers:
    """Worker processes, as a context: inside, what ``reader`` makes of each of ``batches``, in their order."""

    def __init__(self, reader: Reader, batches: list[list[int]], count: int) -> None:
        self._reader = reader
        self._batches = batches
        self._count = min(count, len(batches))
        self._items: Any = None
        self._main = os.getpid()

    def __enter__(self) -> Iterator[Any]:
        before = set(multiprocessing.active_children())
        try:
            with _signals_held(), warnings.catch_warnings():
                # Python 3.12 and later warn of any fork beside threads; START_METHOD says why this one is safe.
                warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
                # Torch warns of more workers than cores. That is the caller's choice: a slow disk may want it.
                warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
                self._items = iter(self._loader())
                _RUNNING.add(self)
        except BaseException:
            if self._items is not None:
                self.__exit__()
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
            raise
        items: Iterator[Any] = self._items
        return items

    def _loader(self) -> torch.utils.data.DataLoader[Any]:
        context = multiprocessing.get_context(START_METHOD)
        self._reader.stop = context.RawValue(ctypes.c_bool, False)
        dataset: Any = self._reader
        return torch.utils.data.DataLoader(
            dataset,
            batch_sampler=self._batches,
            num_workers=self._count,
            collate_fn=_as_is,
            worker_init_fn=_begin,
            multiprocessing_context=context,
            # One batch ahead per worker, a few if there are few of them: decoded batches are large.
            prefetch_factor=max(1, 4 // self._count),
            generator=torch.Generator(),  # torch draws a number; the program's own random numbers stay as they are
        )

    def __exit__(self, *_: object) -> None:
        """Ends the processes: within one picture, or by force after the seconds that torch grants them."""
        if os.getpid() != self._main:
            return  # a copy in a process that the program forked in the middle of a pass
        self._reader.stop.value = True
        processes = list(self._items._workers)
        self._items._shutdown_workers()
        for process in processes:
            if process.is_alive():  # torch only sends the SIGTERM that they ignore
                process.kill()
                process.join()
        _RUNNING.discard(self)


_RUNNING: weakref.WeakSet[Workers] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    # Where a pass was never finished: multiprocessing would send SIGTERM, which workers ignore, and wait.
    for workers in list(_RUNNING):
        workers.__exit__()


def _as_is(result: Any) -> Any:
    return result


def _begin(_: int) -> None:
    """The first thing that a worker process does."""
    for number in _STOPPED_BY_MAIN:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_main, daemon=True).start()


def _end_with_main() -> None:
    main = multiprocessing.parent_process()
    # A process whose parent died gets another one, even where the parent had no time to say goodbye. (Not on
    # Windows, where torch's own watch over the main process has to do.)
    while main is None or os.getppid() == main.pid or sys.platform == "win32":
        time.sleep(_POLL)
    os._exit(1)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Processes started inside inherit the hold: no signal reaches them in the moment before they ignore it."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPED_BY_MAIN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
