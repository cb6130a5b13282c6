"""What ranks are made of, without any process: how work is dealt out, what is counted, who answers a roll call."""

from __future__ import annotations

import pickle
import sys
from contextlib import nullcontext, suppress
from itertools import chain, zip_longest
from types import SimpleNamespace

import pytest
import rank_work
import sparsebp
import torch.distributed as dist
from sparsebp.cli.company import company
from sparsebp.distributed import RankFailed, Ranks, Shard, Traffic, join, launched, roll_call
from sparsebp.finetuning.settings import Settings
from sparsebp.finetuning.steps import check_ranks


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("micro_batch", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 4, 16, 17])
def test_the_micro_batches_of_all_ranks_in_turn_are_the_batch(count: int, micro_batch: int, size: int) -> None:
    shards = [Shard(rank, size).of(range(count), micro_batch) for rank in range(size)]
    own = [[shard[i : i + micro_batch] for i in range(0, len(shard), micro_batch)] for shard in shards]
    in_turn = chain.from_iterable(zip_longest(*own, fillvalue=[]))
    assert list(chain.from_iterable(in_turn)) == list(range(count))


@pytest.mark.parametrize(("ranks", "sent"), [(2, 1000), (3, 1333), (4, 1500)])
def test_a_ring_sends_less_than_twice_what_is_added_up(ranks: int, sent: int) -> None:
    traffic = Traffic(ranks, step=100, dense=4000, steps=10, exchanged=1000)
    assert traffic.sent == traffic.to_dict()["sent"] == sent
    assert traffic.share == 0.025
    traffic.go_on({"steps": 5, "exchanged": 500, "sent": 123})  # by another number of ranks
    assert (traffic.steps, traffic.exchanged, traffic.sent) == (15, 1500, sent + 123)


def test_a_roll_call_finds_who_left_and_who_is_silent() -> None:
    store = dist.HashStore()
    roll_call.leave(store, 2, "OSError: the disk is full")
    store.set("sparsebp/rank 1", "here")
    assert roll_call.call(store, 0, 4, seconds=0.2) == {2: "OSError: the disk is full", 3: None}


def test_a_store_that_went_with_its_process_says_nothing() -> None:
    class Gone:
        def set(self, key: str, value: str) -> None:
            raise dist.DistNetworkError("the connection was closed")

        get = check = set

    assert roll_call.call(Gone(), 0, 2, seconds=0.2) == {}


@pytest.mark.parametrize(
    ("failed", "speaks"),
    [
        (RankFailed("ranks: nobody answers"), True),
        (RankFailed("ranks: rank 0 ended", (0,), (0,)), True),
        (RankFailed("ranks: ranks 0 and 1 ended", (0, 2), (0, 2)), True),
        (RankFailed("ranks: rank 0 failed: ValueError", (0,)), False),
        (RankFailed("ranks: rank 2 ended", (2,), (2,)), False),
    ],
    ids=str,
)
def test_a_rank_speaks_where_the_first_cannot(
    failed: RankFailed, speaks: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error goes to standard error outside, as every error of a command does."""
    monkeypatch.setattr("sparsebp.cli.company.launched", lambda: True)
    monkeypatch.setattr(
        "sparsebp.cli.company.join", lambda *_: nullcontext(SimpleNamespace(rank=1, size=3, first=False))
    )
    for name in ("stdout", "stderr"):  # come back after the test
        monkeypatch.setattr(sys, name, getattr(sys, name))
    with suppress(RankFailed), company("cpu", 1.0):
        print("never shown")
        raise failed
    print("sparsebp: error", file=sys.stderr)
    if not speaks:
        sys.stderr.close()
    assert capsys.readouterr() == ("", "sparsebp: error\n" if speaks else "")


def test_an_error_of_another_rank_can_be_sent_on() -> None:
    error = pickle.loads(pickle.dumps(RankFailed("ranks: gone", (1, 2), (2,))))
    assert (str(error), error.ranks, error.silent) == ("ranks: gone", (1, 2), (2,))


def test_gradient_sums_are_one_piece_of_the_arena() -> None:
    """So that they can be added up where they lie."""
    model, _ = rank_work.made()
    engine = model.engine
    whole, parts, arena = engine.whole_sums(), engine.sum_views(), model.arena
    assert arena.address <= whole.data_ptr() < whole.data_ptr() + whole.nbytes <= arena.address + arena.capacity
    ends = whole.data_ptr()
    for part in parts:
        assert part.data_ptr() == ends, "nothing lies between two layers' sums"
        ends += part.nbytes
    assert ends == whole.data_ptr() + whole.nbytes
    assert whole.nbytes == model.plan.peak_by_category()["weight_gradients"]


@pytest.mark.parametrize("sampler", ["top-k", sparsebp.samplers.Importance(0)], ids=str)
def test_a_sampler_that_ranks_cannot_share_is_refused_before_any_picture_is_read(sampler: object) -> None:
    settings = Settings(sampler=sampler, gradients="sum", batch_size=8)
    check_ranks(settings, SimpleNamespace(size=1))
    with pytest.raises(ValueError, match=r"sampler: (TopK|Importance) draws by gradients, .*; use random, cyclic or"):
        check_ranks(settings, SimpleNamespace(size=2))


def test_a_process_alone_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not launched()
    with pytest.raises(RuntimeError, match=r"start the program by torchrun"):
        Ranks()
    with pytest.raises(ValueError, match=r"torchrun did not start this process"), join():
        pass
    with pytest.raises(ValueError, match=r"timeout: expected a number of seconds above 0, got 0"), join(timeout=0):
        pass
    with pytest.raises(TypeError, match=r"model: expected what sparsebp.convert returned"):
        sparsebp.distributed.DataParallel(None, None)
