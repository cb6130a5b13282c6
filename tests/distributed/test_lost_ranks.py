"""A rank that dies, hangs or gives up ends the others with an error that names it."""

from __future__ import annotations

import signal
import time

import pytest
import rank_work
from worlds import Failed, world

TIMEOUT = 3.0


@pytest.mark.parametrize("how", ["hangs", "says why"])
def test_a_rank_that_hangs_is_named_after_the_timeout_and_one_that_says_why_by_its_reason(how: str) -> None:
    with world(2, TIMEOUT) as two:
        two.tell(0, rank_work.step_for_ever)
        if how == "hangs":
            two.tell(1, rank_work.step_for_ever)
            time.sleep(1)
            two.kill(1, signal.SIGSTOP)
        else:
            two.tell(1, rank_work.fail)
        got = two.answer(0)
        assert isinstance(got, Failed)
        assert got.kind == "RankFailed", got
        expected = "rank 1 ended, or does not answer" if how == "hangs" else "rank 1 failed: ValueError: the pictures"
        assert expected in got.message
        if how == "hangs":
            two.kill(1, signal.SIGCONT)
