"""Sending messages and taking their replies a few at a time, so that a server never holds all of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid


class StreamingGrid(Grid):
    """A grid whose ``send_and_receive`` gives each reply when it is there, instead of all at the end.

    Args:
        grid: what really sends.
        at_once: messages that are handed over together.
        interval: seconds between two looks for replies.
    """

    def __init__(self, grid: Grid, at_once: int = 64, interval: float = 1.0) -> None:
        self._grid, self._at_once, self._interval = grid, at_once, interval

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Sends messages; replies as they come, until all are there or ``timeout`` seconds have passed."""
        end = None if timeout is None else time.monotonic() + timeout
        rest, waiting = iter(messages), list[str]()
        while some := list(islice(rest, self._at_once)):
            waiting += [number for number in self._grid.push_messages(some) if number]
        del some
        return self._replies(waiting, end)

    def _replies(self, waiting: list[str], end: float | None) -> Iterator[Message]:
        while waiting:
            found: set[str] = set()
            for first in range(0, len(waiting), self._at_once):
                for reply in self._grid.pull_messages(waiting[first : first + self._at_once]):
                    found.add(reply.metadata.reply_to_message_id)
                    yield reply
            waiting = [number for number in waiting if number not in found]
            if not waiting or (end is not None and time.monotonic() >= end):
                return
            time.sleep(self._interval)

    # -- as it is -------------------------------------------------------------------------------------

    def set_run(self, run: Any) -> None:
        """Of the grid itself."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """Of the grid itself."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Of the grid itself."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Of the grid itself."""
        nodes: Iterable[int] = self._grid.get_node_ids()
        return nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Of the grid itself."""
        numbers: Iterable[str] = self._grid.push_messages(messages)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Of the grid itself."""
        replies: Iterable[Message] = self._grid.pull_messages(message_ids)
        return replies
