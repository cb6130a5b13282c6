"""Runs whose loss diverges: they stop, say where and what to do, and leave what they had before."""

from __future__ import annotations

import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import sparsebp
import torch
from networks import tiny_mobilenet
from runs import (
    DIVERGING,
    RUN,
    TRAIN,
    Run,
    dataset,
    finetune,
    here,
    interrupt,
    names,
    network,
    run,
    weights_of,
)
from sparsebp import TrainingDiverged
from sparsebp.cli.errors import Exit
from sparsebp.finetuning import Evaluation, checkpoint
from sparsebp.networks.pretrained import read_weights, write_weights
from torch import nn

__all__ = ["here", "run"]  # fixtures


def rates(rate: float) -> dict[str, float]:
    return {"lr": rate, "bias_lr": rate, "classifier_lr": rate}


def assert_good(folder: Path) -> None:
    """The folder holds one checkpoint and nothing else, and its weights know the pictures as well as ever."""
    newest = checkpoint.latest(folder)
    assert newest is not None
    assert names(folder) == {newest.name}
    model = network()
    model.load_state_dict(checkpoint.read(newest).weights)
    test = dataset().test
    pixels = torch.from_numpy(test.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert nn.functional.cross_entropy(model.eval()(pixels), torch.from_numpy(test.labels)) < 10


WAYS: dict[str, dict[str, Any]] = {
    "at once": rates(1e38),
    "to numbers that are still finite": rates(1e6),
    "slower": rates(1e3) | {"epochs": 4},
    "normalised": rates(1e6) | {"normalise": True, "epochs": 9},
    "with momentum": rates(1e6) | {"momentum": 0.9, "budget": "64KB"},
    "in its only update": rates(1e6) | {"batch_size": TRAIN, "micro_batch": TRAIN, "budget": "256KB", "epochs": 1},
    "in its only step": rates(1e6) | {"batch_size": TRAIN, "epochs": 1},
    "in its last step": rates(1e6) | {"warmup": 0.9, "epochs": 1},
    "picture by picture": rates(1e6) | {"batch_size": 1, "epochs": 1},
    "from a cache": rates(1e6) | {"cache": "memory"},
    "with a checkpoint after every step": rates(1e6) | {"checkpoint_every": 1},
    "the classifier alone": {"classifier_lr": 1e6},
    "all but the classifier": {"lr": 1e6},
    "where ReLU6 hides it": {"lr": 1e6, "bias_lr": 0.0, "classifier_lr": 0.0, "normalise": True, "epochs": 9},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_diverges_stops_and_leaves_a_good_checkpoint(way: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged) as caught:
        finetune(tmp_path, **WAYS[way])
    error = caught.value
    assert 1 <= error.epoch <= 9
    assert error.step >= 1
    assert error.checkpoint == checkpoint.latest(tmp_path)
    text = str(error)
    assert text.startswith(f"training diverged in epoch {error.epoch}, step {error.step}: ")
    assert "Choose smaller learning rates, a third of lr " in text
    assert f"{error.checkpoint}/weights.safetensors is from before" in text
    assert_good(tmp_path)


def test_it_can_be_caught_as_a_floating_point_error_and_sent_to_another_process() -> None:
    with pytest.raises(FloatingPointError) as caught:
        finetune(**DIVERGING)
    error, again = caught.value, pickle.loads(pickle.dumps(caught.value))
    assert isinstance(error, sparsebp.TrainingDiverged)
    assert type(again) is type(error)
    assert (str(again), again.epoch, again.step, again.checkpoint) == (str(error), error.epoch, error.step, None)


def test_it_diverges_in_the_same_step_when_it_is_resumed(tmp_path: Path) -> None:
    """So that a service that always resumes ends with the same message."""
    said = []
    for _ in range(2):
        with pytest.raises(TrainingDiverged) as caught:
            finetune(tmp_path, resume=True, **rates(1e6))
        said.append(str(caught.value).partition(", and another folder")[0])
    assert said[0] == said[1]


def test_a_signal_after_an_update_that_spoilt_the_model_leaves_the_checkpoint_from_before(tmp_path: Path) -> None:
    stopped = interrupt(tmp_path, "stepped", 1, micro_batch=8, budget="256KB", classifier_lr=1e6)
    assert stopped.checkpoint == checkpoint.latest(tmp_path)
    assert_good(tmp_path)


def test_weights_of_before_are_where_another_run_begins(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged) as caught:
        finetune(tmp_path / "run", **rates(1e6))
    assert caught.value.checkpoint is not None
    found = finetune(tmp_path / "again", weights=caught.value.checkpoint / "weights.safetensors")
    assert found.loaded is not None
    assert "the same 4 classes" in found.loaded.classifier
    assert all(t.isfinite().all() for t in weights_of(found).values() if t.is_floating_point())


# -- before anything was learned -------------------------------------------------------------------------


def test_a_model_with_numbers_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model.features[0][0].weight[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match=r"model: features\.0\.0\.weight holds numbers that are not finite"):
        finetune(tmp_path / "run", model)
    assert not (tmp_path / "run").exists()


def test_a_first_loss_that_is_no_number_blames_weights_and_pixels(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model.classifier[1].weight.fill_(3e38)
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 1: .*nothing was learned yet; do these weights belong"):
        finetune(tmp_path, model)
    assert checkpoint.latest(tmp_path) is not None


# -- no false alarm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 8])
def test_weights_with_confident_opinions_about_other_classes_may_learn(batch_size: int) -> None:
    """Their losses of forty and more are where the run begins, not what it came to."""
    teacher = finetune(epochs=6).model
    with torch.no_grad():
        teacher.classifier[1].weight.copy_(teacher.classifier[1].weight.roll(1, 0) * 10)
        teacher.classifier[1].bias.copy_(teacher.classifier[1].bias.roll(1, 0) * 10)
    found = finetune(model=teacher, epochs=3, batch_size=batch_size, **rates(0.003))
    first = found.history.first
    assert first is not None
    assert found.history.epochs[-1].loss < 20 * first


def test_looking_again_changes_no_bit(tmp_path: Path) -> None:
    made = [finetune(tmp_path / str(n), network(dropout=0.3), checkpoint_every=n) for n in (1, 500)]
    for name, value in weights_of(made[0]).items():
        assert torch.equal(weights_of(made[1])[name], value), name


# -- what is never written -----------------------------------------------------------------------------------


def test_weights_that_are_not_finite_are_not_written_and_what_was_there_stays(tmp_path: Path) -> None:
    file, model = tmp_path / "w.safetensors", tiny_mobilenet(1)
    write_weights(file, model, {})
    before = file.read_bytes()
    with torch.no_grad():
        model.classifier[1].bias[3] = math.inf
    with pytest.raises(FloatingPointError, match=r"w\.safetensors: not written, classifier\.1\.bias holds numbers"):
        write_weights(file, model, {})
    assert file.read_bytes() == before


class Spoiling(sparsebp.Observer):
    """Puts an infinity where ReLU6 hides it from the loss."""

    def __init__(self, model: nn.Module, step: int) -> None:
        self._model, self._left = model, step

    def stepped(self, *_: Any) -> None:
        self._left -= 1
        if self._left == 0:
            with torch.no_grad():
                self._model.features[0][1].bias[0] = math.inf


def test_a_weight_that_is_not_finite_is_never_in_a_checkpoint(tmp_path: Path) -> None:
    model = network()
    with pytest.raises(TrainingDiverged, match=r"features\.0\.1\.bias is not finite|not finite, so the loss"):
        finetune(tmp_path, model, observer=Spoiling(model, 2), checkpoint_every=1)
    assert_good(tmp_path)


# -- pictures that all look the same ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "pictures", "collapsed"),
    [
        ([3, 0], [3, 2], True),
        ([0, 4, 0], [2, 4, 1], True),
        ([3, 1], [3, 2], False),
        ([2, 0], [3, 2], False),
        ([0, 0], [3, 2], False),
        ([3, 2], [3, 2], False),
        ([3, 0], [3, 0], False),
        ([0, 3, 0], [0, 3, 2], True),
    ],
)
def test_one_class_that_is_always_right_and_others_that_never_are(
    correct: list[int], pictures: list[int], collapsed: bool
) -> None:
    counts = torch.diag(torch.tensor(correct))
    for label, (right, whole) in enumerate(zip(correct, pictures, strict=True)):
        counts[label, label - 1] += whole - right  # the class that they are taken for does not matter
    assert Evaluation(counts, None, 0.0).collapsed == collapsed


# -- the command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["--lr 1e6", "--lr 1e6 --no-normalise", "--classifier-lr 1e9"])
def test_the_command_ends_with_a_code_the_step_and_what_to_do(options: str, run: Run, here: Path) -> None:
    code, _, err = run(*RUN, "--out", "run", "--epochs", "9", *options.split())
    assert code == Exit.FAILED
    (line,) = err.splitlines()
    assert re.match(r"sparsebp: error: training diverged in epoch \d, step \d: ", line)
    assert re.search(r"Choose smaller learning rates, .*, and another folder; run/checkpoint-\d+/weights\.safet", line)
    assert not (here / "run" / "model.safetensors").exists()
    assert not (here / "run" / "report.json").exists()
    (kept,) = (here / "run").glob("checkpoint-*/weights.safetensors")
    assert all(t.isfinite().all() for t in safetensors.torch.load_file(kept).values())
    assert read_weights(kept).metadata["classes"] == ["blue", "green", "grey", "red"]
    code, _, err = run(*RUN, "--out", "again", "--epochs", "1", "--weights", str(kept), "--no-normalise")
    assert code == Exit.OK, err
    assert json.loads((here / "again" / "report.json").read_text())["history"]["first"] < 30
