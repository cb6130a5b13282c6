"""Processes that are ranks of each other, on this machine, and do what a test tells them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

START = 90.0
"""Seconds that processes may take to import torch on a busy machine."""
TIMEOUT = 60.0
"""Of collectives, where nothing else is asked for."""


class Failed(Exception):  # noqa: N818 - nothing raises it
    """What a rank raised instead of returning something."""

    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(f"{kind}: {message}\n{trace}")
        self.kind, self.message = kind, message


class World:
    """Ranks that wait for work. Each has joined the others, and keeps what it has in a dictionary of its own."""

    def __init__(self, size: int, timeout: float) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._pipes, self.processes = [], []
        for rank in range(size):
            own, other = context.Pipe()
            process = context.Process(target=_work, args=(other, rank, size, port, timeout), daemon=True)
            process.start()
            self._pipes.append(own)
            self.processes.append(process)
        for rank in range(size):
            assert self.answer(rank) == rank

    def tell(self, rank: int, work: Callable[..., Any], *arguments: Any) -> None:
        """Gives one rank something to do, and does not wait for it."""
        self._pipes[rank].send((work, arguments))

    def answer(self, rank: int, seconds: float = START) -> Any:
        """What a rank returned, or a :class:`Failed`."""
        assert self._pipes[rank].poll(seconds), f"rank {rank} does not answer"
        found = self._pipes[rank].recv()
        return Failed(*found[1:]) if found[0] == "failed" else found[1]

    def run(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What each rank returned; ``work`` gets its ranks, its dictionary and the arguments."""
        for rank in range(len(self._pipes)):
            self.tell(rank, work, *arguments)
        return [self.answer(rank) for rank in range(len(self._pipes))]

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Sends a rank a signal."""
        os.kill(self.processes[rank].pid, number)

    def end(self) -> None:
        """Ends all ranks."""
        for process in self.processes:
            process.kill()
            process.join()


@contextmanager
def world(size: int, timeout: float = TIMEOUT) -> Iterator[World]:
    """Ranks, until the context ends."""
    made = World(size, timeout)
    try:
        yield made
    finally:
        made.end()


def _work(pipe: Any, rank: int, size: int, port: int, timeout: float) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    import torch
    from sparsebp import distributed

    torch.set_num_threads(1)
    kept: dict[str, Any] = {}
    with distributed.join(timeout=timeout) as ranks:
        pipe.send(("done", rank))
        while True:
            work, arguments = pipe.recv()
            try:
                pipe.send(("done", work(ranks, kept, *arguments)))
            except BaseException as error:
                pipe.send(("failed", type(error).__name__, str(error), traceback.format_exc()))
