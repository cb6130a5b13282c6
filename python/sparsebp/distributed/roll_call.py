"""After a collective failed: who is still there, and who said why it left."""

from __future__ import annotations

import threading
import time
from typing import Protocol

SECONDS = 5.0
"""How long the others have to answer."""
_POLL = 0.05
_HERE = "here"
_LEFT = "left: "


class Store(Protocol):
    """What ranks share besides collectives, as torch.distributed has it."""

    def set(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> bytes: ...
    def check(self, keys: list[str]) -> bool: ...


def leave(store: Store, rank: int, why: str) -> None:
    """Notes why a rank ends early."""
    store.set(_key(rank), _LEFT + why)


def call(store: Store, rank: int, size: int, seconds: float = SECONDS) -> dict[int, str | None]:
    """The ranks that are not there any more, and why; None of those that do not say.

    A store lives in one of the processes, which may be the one that is gone: then this says nothing of anybody.
    """
    found: dict[int, str | None] = {}
    # A thread, as a store whose process hangs would make this one hang too.
    asking = threading.Thread(target=_ask, args=(store, rank, size, seconds, found), daemon=True)
    asking.start()
    asking.join(2 * seconds)
    return dict(sorted(found.items()))


def _ask(store: Store, rank: int, size: int, seconds: float, found: dict[int, str | None]) -> None:
    waiting, end = set(range(size)) - {rank}, time.monotonic() + seconds
    try:
        store.set(_key(rank), _HERE)
        while waiting and time.monotonic() < end:
            for other in [r for r in waiting if store.check([_key(r)])]:
                waiting.discard(other)
                said = store.get(_key(other)).decode()
                if said.startswith(_LEFT):
                    found[other] = said.removeprefix(_LEFT)
            time.sleep(_POLL)
    except (RuntimeError, OSError):  # the store went with its process
        return
    found.update(dict.fromkeys(waiting))


def _key(rank: int) -> str:
    return f"sparsebp/rank {rank}"
