"""However a run is interrupted and resumed, it ends with the bits of one that nothing disturbed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sparsebp
from runs import (
    EPOCHS,
    SIDE,
    STEPS,
    At,
    assert_finished,
    assert_same_run,
    finetune,
    interrupt,
    left_behind,
    names,
    network,
    signalled,
    torch_first,
    torn,
    uneven,
)
from sparsebp import Interrupted
from sparsebp.finetuning import checkpoint


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``undisturbed("name", **changes)``: the folder of a run that nothing interrupts, made once a name."""
    made: dict[str, Path] = {}

    def folder(name: str, **changes: Any) -> Path:
        if name not in made:
            out = tmp_path_factory.mktemp("undisturbed") / "run"
            finetune(out, **_fresh(changes))
            made[name] = out
        return made[name]

    return folder


def _fresh(changes: dict[str, Any]) -> dict[str, Any]:
    """A model of its own for each run: ``network`` stands for a function that makes one."""
    rest = {k: v for k, v in changes.items() if k != "network"}
    return {**rest, "model": changes["network"]()} if "network" in changes else rest


# -- moments -------------------------------------------------------------------------------------

MOMENTS = [
    pytest.param("planned", 1, id="before the first step"),
    pytest.param("saved", 1, id="during the first checkpoint"),
    pytest.param("stepped", 1, id="in the first step"),
    pytest.param("stepped", 2, id="where a checkpoint is due anyway"),
    pytest.param("stepped", STEPS, id="in an epoch's last step"),
    pytest.param("evaluating", 1, id="in the test"),
    pytest.param("evaluating", 2, id="at the end of the test"),
    pytest.param("epoch_ended", 1, id="between two epochs"),
    pytest.param("stepped", STEPS + 1, id="in the second epoch's first step"),
    pytest.param("stepped", EPOCHS * STEPS, id="in the last step"),
    pytest.param("evaluating", 3, id="in the last test"),
]
signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)


@signals
@pytest.mark.parametrize(("event", "count"), MOMENTS)
def test_a_run_stopped_at_any_moment_goes_on_to_the_same_bits(
    event: str, count: int, number: signal.Signals, tmp_path: Path, undisturbed: Callable[..., Path]
) -> None:
    out = tmp_path / "run"
    stopped = interrupt(out, event, count, number, checkpoint_every=2)
    assert stopped.signal == number
    assert stopped.checkpoint == checkpoint.latest(out)
    assert number.name in str(stopped)
    if event != "planned":  # nothing was trained yet
        assert str(stopped.checkpoint) in str(stopped)
    finetune(out, resume=True, checkpoint_every=2)
    assert_same_run(out, undisturbed("plain"))
    assert_finished(out)


def test_a_signal_after_the_last_test_changes_nothing(tmp_path: Path, undisturbed: Callable[..., Path]) -> None:
    """The run is over but for writing its result, which it does."""
    finetune(tmp_path / "run", observer=signalled("epoch_ended", EPOCHS))
    assert_same_run(tmp_path / "run", undisturbed("plain"))


def test_stopped_at_every_step(tmp_path: Path, undisturbed: Callable[..., Path]) -> None:
    out, steps = tmp_path / "run", 0
    while True:
        try:
            finetune(out, resume=True, observer=signalled("stepped", 1))
            break
        except Interrupted:
            steps += 1
            assert names(out) == {checkpoint.latest(out).name}
    assert steps == EPOCHS * STEPS
    assert_same_run(out, undisturbed("plain"))


def test_how_often_checkpoints_are_written_changes_nothing(tmp_path: Path, undisturbed: Callable[..., Path]) -> None:
    finetune(tmp_path / "run", checkpoint_every=1)
    assert_same_run(tmp_path / "run", undisturbed("plain"))


def test_a_second_signal_ends_the_run_at_once_and_the_last_checkpoint_resumes(
    tmp_path: Path, undisturbed: Callable[..., Path]
) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        finetune(out, observer=At("stepped", 5, twice), checkpoint_every=2)
    saved = checkpoint.read(checkpoint.latest(out)).facts["position"]
    assert saved["epoch"] * STEPS + saved["step"] == 4
    finetune(out, resume=True)
    assert_same_run(out, undisturbed("plain"))


def test_without_a_folder_there_is_no_checkpoint() -> None:
    assert interrupt(None, "stepped", 2).checkpoint is None


# -- what a checkpoint has to take along -----------------------------------------------------------

#: Few steps visit every channel, after which samplers that go by gradients differ.
HALF = {"ratios": {"features.[4-6].*": 0.5}}

VARIANTS: dict[str, dict[str, Any]] = {
    "cyclic": {"sampler": "cyclic"},
    "importance": {"sampler": "importance", **HALF},
    "top-k": {"sampler": "top-k", **HALF},
    "static": {"sampler": "static"},
    "a sampler of its own": {"sampler": sparsebp.samplers.TopK(7), **HALF},
    "momentum": {"momentum": 0.9, "resample_every": 2},
    "momentum, importance": {"momentum": 0.5, "resample_every": 3, "sampler": "importance"},
    "sums": {"budget": "1MB", "gradients": "sum", "lr": 0.01},
    "sums, momentum": {"budget": "1MB", "gradients": "sum", "momentum": 0.9, "lr": 0.01, "resample_every": 2},
    "micro-batches": {"budget": "64KB", "micro_batch": 3},
    "augmentation": {"augment": "crop,flip,shift,color"},
    "dropout": {"network": lambda: network(dropout=0.3)},
    "dropout in torch": {"network": torch_first, "budget": "64KB"},
    "warm-up, linear": {"warmup": 0.4, "schedule": "linear", "weight_decay": 0.01, "label_smoothing": 0.1},
    "learned pictures left out": {"skip_above": 0.3},
    "learned pictures rest": {"skip_above": 0.3, "rest": 1},
    "another seed": {"seed": 2**64 - 1},
    "broken pictures": {"data": torn()},
    "balanced by the loss": {"balance": "loss", "data": uneven()},
    "balanced by sampling": {"balance": "sampling", "data": uneven(), "augment": "flip"},
    "a mean of epochs": {"average": 2},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_whatever_a_run_keeps_from_step_to_step_survives(
    variant: str, tmp_path: Path, undisturbed: Callable[..., Path]
) -> None:
    """Stopped twice, in the middle of either epoch: what differs from step to step would show."""
    out, changes = tmp_path / "run", VARIANTS[variant]
    expected = left_behind(undisturbed(variant, **changes))
    interrupt(out, "stepped", 1, **_fresh(changes))
    interrupt(out, "stepped", 3, signal.SIGTERM, resume=True, **_fresh(changes))
    finetune(out, resume=True, **_fresh(changes))
    assert_same_run(out, undisturbed(variant))
    position = expected["state: position"]
    assert '"epoch": 2' in position, "the undisturbed run must be a whole one"


def test_the_variants_differ(undisturbed: Callable[..., Path]) -> None:
    """Otherwise the test above would prove less than it seems to."""
    ends = {name: left_behind(undisturbed(name, **changes)) for name, changes in VARIANTS.items()}
    ends["plain"] = left_behind(undisturbed("plain"))
    weights = {name: end["model.safetensors"] for name, end in ends.items()}
    assert len(set(weights.values())) == len(weights)
    assert sparsebp.convert(torch_first(), "64KB", input_size=(3, SIDE, SIDE)).prefix_is_random
    assert "training: arena.sums" in ends["sums"]
    assert "training: arena.sums" not in ends["plain"]
    assert "training: arena.momentum" in ends["sums, momentum"]
    assert "training: arena.scores" in ends["importance"]


@pytest.mark.parametrize("change", [{"workers": 2}, {"cache": "memory"}, {"cache": "disk"}], ids=str)
def test_workers_and_cache_have_no_say_in_the_result(
    change: dict[str, Any], tmp_path: Path, undisturbed: Callable[..., Path]
) -> None:
    """Neither from the start nor when a run without them is resumed with them, and the other way round."""
    whole, mixed = tmp_path / "whole", tmp_path / "mixed"
    finetune(whole, **change)
    assert_same_run(whole, undisturbed("plain"))
    interrupt(mixed, "stepped", 2, **change)
    interrupt(mixed, "stepped", 2, resume=True)
    finetune(mixed, resume=True, **change)
    assert_same_run(mixed, undisturbed("plain"))
    assert_finished(mixed)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_run_stopped_while_it_fills_its_cache_starts_again(
    place: str, tmp_path: Path, undisturbed: Callable[..., Path]
) -> None:
    out = tmp_path / "run"
    interrupt(out, "caching", 2, cache=place)
    assert names(out) == set()
    finetune(out, resume=True, cache=place)
    assert_same_run(out, undisturbed("plain"))


@pytest.mark.parametrize(("event", "count"), [("planned", 1), ("caching", 2)])
def test_a_resumed_run_stopped_before_it_trains_names_the_checkpoint_it_has(
    event: str, count: int, tmp_path: Path, undisturbed: Callable[..., Path]
) -> None:
    interrupt(tmp_path, "stepped", 2)
    before = checkpoint.latest(tmp_path)
    assert interrupt(tmp_path, event, count, resume=True, cache="memory").checkpoint == before
    finetune(tmp_path, resume=True, cache="memory")
    assert_same_run(tmp_path, undisturbed("plain"))


# -- folders ---------------------------------------------------------------------------------------


def test_resuming_where_there_is_nothing_starts_a_run(tmp_path: Path, undisturbed: Callable[..., Path]) -> None:
    finetune(tmp_path / "new" / "run", resume=True)
    assert_same_run(tmp_path / "new" / "run", undisturbed("plain"))


# -- what a run leaves alone -------------------------------------------------------------------------


def test_outside_the_main_thread_a_run_works_and_leaves_signals_alone(
    tmp_path: Path, undisturbed: Callable[..., Path]
) -> None:
    thread = threading.Thread(target=finetune, args=(tmp_path,))
    thread.start()
    thread.join()
    assert_same_run(tmp_path, undisturbed("plain"))
