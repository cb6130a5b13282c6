"""What a run leaves behind, finished or failed: its folder, the model, random generators and signal handlers."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from runs import (
    DIVERGING,
    At,
    assert_plain,
    dataset,
    finetune,
    interrupt,
    left_behind,
    names,
    network,
    signalled,
    torch_first,
    torn,
)
from sparsebp import Interrupted
from sparsebp.data import BrokenPicture
from sparsebp.finetuning import CheckpointError, checkpoint

# -- folders ---------------------------------------------------------------------------------------


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    """Even with another model in hand: the checkpoint's weights count."""
    out, steps = tmp_path / "run", []
    first = finetune(out)
    before = left_behind(out)
    again = finetune(out, network(seed=1), resume=True, observer=At("stepped", 1, lambda: steps.append(1)))
    assert left_behind(out) == before
    assert steps == []
    assert again.history == first.history
    assert again.memory == first.memory
    for name, value in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_that_holds_a_run_is_not_overwritten(finished: bool, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if finished:
        finetune(out)
    else:
        interrupt(out, "stepped", 2)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    with pytest.raises(FileExistsError, match=r"run holds a run already; resume it, or choose another folder"):
        finetune(out)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_weights_without_a_checkpoint_are_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"dear to somebody")
    with pytest.raises(FileExistsError, match="holds a run already"):
        finetune(tmp_path)
    assert names(tmp_path) == {"model.safetensors"}


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        finetune(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        finetune(tmp_path / "file" / "run")


# -- what a run leaves alone -------------------------------------------------------------------------


def diverge(out: Path) -> None:
    finetune(out, **DIVERGING)


def strict(out: Path) -> None:
    finetune(out, data=torn(), strict=True)


def stop(out: Path) -> None:
    finetune(out, observer=signalled("stepped", 2))


def fail(out: Path) -> None:
    def act() -> None:
        raise RuntimeError("of the observer's own")

    finetune(out, observer=At("stepped", 2, act))


ENDS = {
    "divergence": (diverge, FloatingPointError),
    "strict": (strict, BrokenPicture),
    "a signal": (stop, Interrupted),
    "an observer that fails": (fail, RuntimeError),
}
ends = pytest.mark.parametrize(("run", "error"), ENDS.values(), ids=ENDS)


@ends
def test_a_run_that_fails_leaves_what_resumes(
    run: Callable[[Path], None], error: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(error):
        run(tmp_path)
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert names(tmp_path) == {newest.name}
    checkpoint.read(newest)


@ends
def test_random_generators_and_signal_handlers_are_as_before(
    run: Callable[[Path], None], error: type[BaseException], tmp_path: Path
) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(error):
        run(tmp_path / "failed")
    finetune(tmp_path / "finished", network(dropout=0.2), augment="flip")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (str(np.random.get_state()), random.getstate()) == before[1:]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


BREAKS: dict[str, dict[str, Any]] = {
    "divergence": DIVERGING,
    "strict": {"data": torn(), "strict": True},
    "a signal": {"observer": signalled},
    "wrong classes": {"data": dataset(8, 4), "classes": 7},
    "no budget": {"budget": 100},
    "no such cache": {"cache": "memory", "augment": "crop"},
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", BREAKS)
def test_after_an_error_the_model_is_plain_and_in_the_mode_it_was_given_in(kind: str, training: bool) -> None:
    changes = dict(BREAKS[kind])
    classes = changes.pop("classes", 4)
    if "observer" in changes:
        changes["observer"] = signalled("stepped", 2)
    model = network(classes=classes).train(training)
    model.features[0][0].weight.requires_grad_(False)
    like = network(classes=classes).train(training)
    like.features[0][0].weight.requires_grad_(False)
    with pytest.raises((FloatingPointError, ValueError, Interrupted, sparsebp.BudgetExceeded)):
        finetune(None, model, **changes)
    modes = [m.training for m in model.modules()]
    assert_plain(model, like)
    assert modes == [m.training for m in like.modules()]


def test_a_checkpoint_of_another_model_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    interrupt(tmp_path, "stepped", 2, model=torch_first(0.0), budget="64KB")
    model = network()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="another plan"):
        finetune(tmp_path, model, resume=True, budget="64KB")
    assert_plain(model, network())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
