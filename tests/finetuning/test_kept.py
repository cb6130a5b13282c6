"""The weights that a run ends with: its last epoch's, its best one's, or the mean of several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sparsebp
import torch
from runs import assert_same_weights, finetune, interrupt, left_behind, names, network, weights_of
from safetensors.torch import load_file
from sparsebp.finetuning import CheckpointError, Epoch, History, Observer, Settings
from sparsebp.finetuning.export_run import export_run
from sparsebp.finetuning.kept import best_epoch, without_a_better_one

EPOCHS = 4
#: Rates so large that accuracy goes up and down.
RESTLESS: dict[str, Any] = {
    "epochs": EPOCHS,
    "lr": 0.4,
    "bias_lr": 0.4,
    "classifier_lr": 0.4,
    "schedule": "constant",
    "seed": 1,
}


class Weights(Observer):
    """A copy of a model's weights after each epoch."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self.after: dict[int, dict[str, torch.Tensor]] = {}

    def epoch_ended(self, epoch: Epoch) -> None:
        self.after[epoch.number] = {name: t.clone() for name, t in self._model.state_dict().items()}


def run(out: Path | None = None, **changes: Any) -> tuple[Any, Weights]:
    model = network()
    seen = Weights(model)
    return finetune(out, model=model, observer=seen, **{**RESTLESS, **changes}), seen


def epoch(number: int, accuracy: float, balanced: float = 0.0) -> Epoch:
    return Epoch(number, 1.0, accuracy, 1.0, 1.0, 1.0, balanced=balanced)


def test_the_best_is_the_most_accurate_epoch_and_of_equal_ones_the_later() -> None:
    history = History([epoch(1, 0.5), epoch(2, 0.8), epoch(3, 0.8), epoch(4, 0.7)])
    assert best_epoch(history, Settings()).number == 3
    assert without_a_better_one(history, Settings()) == 2, "the third is no better than the second"


def test_balanced_classes_are_judged_by_their_mean() -> None:
    history = History([epoch(1, 0.9, 0.6), epoch(2, 0.8, 0.7)])
    assert best_epoch(history, Settings()).number == 1
    assert best_epoch(history, Settings(balance="sampling")).number == 2


def test_a_run_that_keeps_the_best_ends_with_that_epoch_s_weights(tmp_path: Path) -> None:
    for seed in range(8):  # processors round differently, and with these rates that is enough for another run
        accuracies = {e.number: e.accuracy for e in run(seed=seed)[0].history.epochs}
        best = max(accuracies, key=lambda number: (accuracies[number], number))
        if best != EPOCHS:
            break
    assert best != EPOCHS, "this test wants a run that gets worse in the end"
    result, seen = run(tmp_path / "run", keep="best", seed=seed)
    assert_same_weights(weights_of(result), seen.after[best])
    assert_same_weights(load_file(tmp_path / "run" / "model.safetensors"), seen.after[best])
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["accuracy"] == result.accuracy == accuracies[best]
    assert report["history"]["kept"]["epochs"] == [best]
    tested = report["history"]["classes"].values()
    assert sum(of["correct"] for of in tested) / sum(of["pictures"] for of in tested) == pytest.approx(result.accuracy)
    assert names(tmp_path / "run" / "epochs") == {f"epoch-{best:04d}.safetensors"}


def test_an_average_is_the_mean_of_the_last_epochs_weights(tmp_path: Path) -> None:
    result, seen = run(tmp_path / "run", average=3)
    last = [seen.after[number] for number in (2, 3, 4)]
    for name, tensor in weights_of(result).items():
        if tensor.is_floating_point():
            mean = torch.stack([weights[name].double() for weights in last]).mean(0).float()
            torch.testing.assert_close(tensor, mean, rtol=0, atol=1e-7)
    assert result.history.kept.epochs == [2, 3, 4]
    assert str(result.history.kept) == "the mean of epochs 2 to 4"
    assert result.accuracy == result.history.kept.accuracy


def test_the_best_and_an_average_are_compared() -> None:
    result, _ = run(keep="best", average=2)
    best = max(e.accuracy for e in result.history.epochs)
    mean, _ = run(average=2)
    assert result.accuracy == max(best, mean.accuracy)


def test_patience_ends_a_run_that_gets_no_better() -> None:
    still = {"lr": 0.0, "bias_lr": 0.0, "classifier_lr": 0.0}
    result, _ = run(**{**still, "epochs": 9, "patience": 2})
    assert len(result.history.epochs) == 3
    assert result.history.kept is None


CHANGES: list[dict[str, Any]] = [
    {"keep": "best"},
    {"average": 2},
    {"keep": "best", "average": 3, "patience": 2},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_stopped_anywhere_a_run_ends_with_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    finetune(tmp_path / "whole", **RESTLESS, **changes)
    out = tmp_path / "run"
    interrupt(out, "stepped", 5, **RESTLESS, **changes)
    interrupt(out, "epoch_ended", 1, resume=True, **RESTLESS, **changes)
    interrupt(out, "evaluating", 1, resume=True, **RESTLESS, **changes)
    finetune(out, resume=True, **RESTLESS, **changes)
    assert left_behind(out) == left_behind(tmp_path / "whole")
    assert names(out / "epochs") == names(tmp_path / "whole" / "epochs")
    finetune(out, resume=True, **RESTLESS, **changes)  # once more: nothing is left to do but to write it again
    assert left_behind(out) == left_behind(tmp_path / "whole")


def test_a_plan_file_of_a_finished_run_holds_what_was_kept(tmp_path: Path) -> None:
    run(tmp_path / "run", keep="best")
    export_run(tmp_path / "run", tmp_path / "plan.safetensors", model=network())
    model = network(seed=1)
    sparsebp.load_weights(model, tmp_path / "plan.safetensors")
    assert_same_weights(dict(model.state_dict()), load_file(tmp_path / "run" / "model.safetensors"))


def test_a_missing_epoch_is_named(tmp_path: Path) -> None:
    run(tmp_path / "run", keep="best")
    for file in (tmp_path / "run" / "epochs").iterdir():
        file.unlink()
    with pytest.raises(CheckpointError, match="epochs: the weights of an epoch cannot be read"):
        run(tmp_path / "run", keep="best", resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": "first"}, "keep: expected last or best, got 'first'"),
        ({"patience": 0}, "patience: expected at least 1, got 0"),
        ({"average": 0}, "average: expected at least 1, got 0"),
        ({"balance": "weights"}, "balance: expected none or loss or sampling, got 'weights'"),
    ],
    ids=str,
)
def test_wrong_wishes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(**changes)
