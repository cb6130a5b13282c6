"""What a run writes into a checkpoint, and that one of another run is refused by what differs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import sparsebp
import torch
from checkpoints import rewritten
from runs import Damaged, dataset, finetune, interrupt, network, pictures
from sparsebp.data import Dataset
from sparsebp.finetuning import CheckpointError, checkpoint


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stopped") / "run"
    interrupt(out, "stepped", 3, resample_every=2)
    return out


def run_of(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_its_weights_have_the_original_s_keys_and_load_with_plain_safetensors(stopped: Path) -> None:
    newest = checkpoint.latest(stopped)
    assert newest is not None
    found, original = safetensors.torch.load_file(newest / "weights.safetensors"), network().state_dict()
    assert {n: (t.shape, t.dtype) for n, t in found.items()} == {n: (t.shape, t.dtype) for n, t in original.items()}
    assert all(t.is_contiguous() for t in found.values())
    assert any(not torch.equal(t, original[n]) for n, t in found.items())
    network(1).load_state_dict(found)
    assert safetensors.torch.load_file(newest / "training.safetensors")["torch_generator"].dtype == torch.uint8


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "learning rate": ({"lr": 0.2}, r"it was made with lr=0\.1, now lr=0\.2; give the same settings, or"),
    "budget": ({"budget": "17KB"}, "made with budget=16384, now budget=17408"),
    "epochs": ({"epochs": 3}, "made with epochs=2, now epochs=3"),
    "seed": ({"seed": 1}, "made with seed=0, now seed=1"),
    "sampler": ({"sampler": "cyclic"}, "made with sampler=random, now sampler=cyclic"),
    "augment": ({"augment": "flip"}, "augment"),
    "preprocess": ({"preprocess": sparsebp.data.Preprocess((16, 16), resize="pad")}, "preprocess"),
    "training pictures": ({"data": dataset(24)}, "other data: train differs"),
    "test pictures": ({"data": dataset(test=71)}, "other data: test differs"),
    "classes": ({"data": Dataset(pictures(20, 0), pictures(70, 1), tuple("abcd"), "")}, "other data: classes differs"),
    "model": (
        {"model": torch.nn.Sequential(network(), torch.nn.ReLU())},
        "resume: the checkpoint was made under another plan",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(other: str, stopped: Path, tmp_path: Path) -> None:
    out, (changes, reason) = run_of(stopped, tmp_path), OTHERS[other]
    with pytest.raises(CheckpointError, match=reason):
        finetune(out, resume=True, **{"resample_every": 2, **changes})
    finetune(out, resume=True, resample_every=2)


STATIC = [{"features.3.conv.0.0": [0, 1]}, {"features.3.conv.0.0": [2, 3]}]


def test_another_choice_of_static_channels_is_another_run(tmp_path: Path) -> None:
    first, second = (sparsebp.samplers.Static(channels=c) for c in STATIC)
    ratios = {"features.3.conv.0.0": 2 / 16}
    interrupt(tmp_path, "stepped", 2, sampler=first, ratios=ratios)
    with pytest.raises(CheckpointError, match="sampler"):
        finetune(tmp_path, resume=True, sampler=second, ratios=ratios)


def test_broken_pictures_are_part_of_what_a_run_remembers(tmp_path: Path) -> None:
    data = Dataset(Damaged(pictures(20, 0), {3}), pictures(70, 1), dataset().classes, "")
    finetune(tmp_path, data=data)
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert checkpoint.read(newest).facts["history"]["skipped"] == ["pictures[3]"]


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.pop(key)


@pytest.mark.parametrize("key", ["plan", "position", "peak", "counters", "optimizer", "history", "settings", "data"])
def test_a_state_that_lacks_something_is_refused(key: str, stopped: Path, tmp_path: Path) -> None:
    out = run_of(stopped, tmp_path)
    newest = checkpoint.latest(out)
    assert newest is not None
    rewritten(newest, "state.json", b"", _without(key))
    with pytest.raises(CheckpointError):
        finetune(out, resume=True, resample_every=2)


@pytest.mark.parametrize("value", [-1, 10**6, 2**31 - 1])
def test_channels_that_do_not_exist_are_refused(value: int, stopped: Path, tmp_path: Path) -> None:
    """They are offsets into memory: read unchecked, a checkpoint could write anywhere."""
    out = run_of(stopped, tmp_path)
    newest = checkpoint.latest(out)
    assert newest is not None
    training = dict(checkpoint.read(newest).training)
    count = len(training["arena.indices"]) // 4
    training["arena.indices"] = torch.full((count,), value, dtype=torch.int32).view(torch.uint8)
    rewritten(newest, "training.safetensors", safetensors.torch.save(training))
    child = os.fork()
    if child == 0:  # what it writes to may be anything
        try:
            finetune(out, resume=True, resample_every=2)
        except CheckpointError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
