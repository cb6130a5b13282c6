"""How many threads sessions compute on."""

from __future__ import annotations

import os

from .. import _C


def set_threads(count: int | None = None) -> int:
    """Computes on so many threads from now on, 1 to 64, all sessions; results have the same bits with any number.

    Args:
        count: None takes as many as this process may use processors. While torch is loaded its threads are used, and
            ``torch.set_num_threads`` says how many.

    Returns:
        The number.

    Raises:
        ValueError: another number.
    """
    wanted = min(64, len(os.sched_getaffinity(0))) if count is None else count
    _C.set_plain_threads(wanted)
    return wanted
