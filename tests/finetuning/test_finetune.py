"""A whole run: it learns inside its budget, tells what happens, and is the loop that the documentation describes."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from runs import (
    CLASSES,
    DIVERGING,
    EPOCHS,
    SETTINGS,
    SIDE,
    STEPS,
    TEST,
    TRAIN,
    Log,
    assert_same_weights,
    dataset,
    finetune,
    names,
    network,
    weights_of,
    with_broken,
    write_pictures,
)
from sparsebp.data import BrokenPicture, Dataset, Preprocess
from sparsebp.finetuning import History, Position
from sparsebp.networks.pretrained import WeightFile, usual_preprocess
from sparsebp.training.schedule import rate_factor
from torch.nn.functional import cross_entropy

# -- what it is for --------------------------------------------------------------------------------


def test_it_learns_inside_its_budget() -> None:
    """Four classes, so that chance is 25 %."""
    model = network()
    result = finetune(None, model, dataset(160, 120), epochs=8, dense_audit=True)
    assert result.model is model
    assert not any(m.training for m in model.modules())
    assert result.accuracy > 0.85
    assert result.history.epochs[-1].loss < 0.7 * result.history.losses[0][1]
    memory = result.memory
    assert memory.predicted == memory.measured == result.plan.peak_bytes <= memory.budget == 16 * 1024
    assert memory.outside <= 256
    assert memory.dense is not None
    assert memory.dense > 10 * memory.budget
    assert memory.workspace == result.plan.inference_bytes
    assert memory.weights == sum(t.numel() * t.element_size() for t in model.state_dict().values())


def test_the_accuracy_it_reports_is_that_of_the_model_it_returns() -> None:
    result, data = finetune(data=dataset(40, TEST)), dataset(40, TEST)
    preprocess = usual_preprocess(WeightFile(network().state_dict(), {}), (SIDE, SIDE))
    images = np.stack([preprocess.fit(data.test.picture(i)) for i in range(TEST)])
    with torch.no_grad():
        output = result.model(preprocess.normalise(torch.from_numpy(images)))
    labels = torch.from_numpy(data.test.labels)
    assert result.accuracy == int((output.argmax(1) == labels).sum()) / TEST
    assert result.history.epochs[-1].test_loss == pytest.approx(cross_entropy(output, labels).item(), rel=1e-5)


def test_a_path_is_opened_and_the_report_says_what_was_done(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 5)
    result = finetune(tmp_path / "run", data=str(tmp_path / "pictures"), origin={"model": "tiny", "data": "here"})
    assert result.weights == tmp_path / "run" / "model.safetensors"
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["accuracy"] == result.accuracy
    assert report["origin"] == {"model": "tiny", "data": "here", "test_share": "0.2", "seed": "0", "split": "name"}
    assert report["data"]["classes"] == list(CLASSES)
    assert report["settings"]["lr"] == SETTINGS["lr"]
    assert report["memory"] == result.memory.to_dict()
    assert report["history"]["epochs"][-1]["accuracy"] == result.accuracy


# -- the loop --------------------------------------------------------------------------------------


def factor(schedule: str, warmup: float, done: float) -> float:
    """The documented share of the full rate, written down once more."""
    if done < warmup:
        return done / warmup
    rest = (done - warmup) / (1 - warmup)
    return {"cosine": 0.5 + 0.5 * math.cos(math.pi * rest), "linear": 1 - rest, "constant": 1.0}[schedule]


def by_hand(
    data: Dataset,
    schedule: str = "cosine",
    warmup: float = 0.0,
    rates: tuple[float, float, float] = (0.1, 0.1, 0.05),
    smoothing: float = 0.0,
    decay: float = 0.0,
    broken: Collection[int] = (),
    ratios: dict[str, float] | None = None,
    slow: str = "none",
    skip_above: float = 1.0,
    rest: int = 0,
    epochs: int = EPOCHS,
) -> dict[str, torch.Tensor]:
    """The loop that the documentation describes, in a user's own words."""
    model = sparsebp.convert(network(), SETTINGS["budget"], input_size=(3, SIDE, SIDE), ratios=ratios).train()
    last = [p for n, p in model.named_parameters() if n.startswith("classifier") and p.requires_grad]
    others = [p for p in model.trained_parameters() if all(p is not q for q in last)]
    weights, biases = [p for p in others if p.dim() > 1], [p for p in others if p.dim() == 1]
    slowed = [p for n, p in model.named_parameters() if n.endswith(f"{slow}.weight") and p.dim() > 1]
    weights = [p for p in weights if all(p is not q for q in slowed)]
    groups = [{"params": members} for members in (weights, biases, last, slowed) if members]
    rates = (*rates, rates[0] / 4)
    opt = sparsebp.optim.SGD(groups, lr=0.0, weight_decay=decay)
    preprocess, done, due = Preprocess((SIDE, SIDE)), 0, dict.fromkeys(range(TRAIN), 0)

    def loss(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(output.double(), labels, label_smoothing=smoothing)

    def sure(output: torch.Tensor, labels: torch.Tensor) -> bool:
        learned.append(torch.softmax(output[0].double(), 0)[labels[0]].item() > skip_above)
        return learned[-1]

    for epoch in range(epochs):
        order = np.random.default_rng((0, epoch)).permutation(TRAIN)
        for first in range(0, TRAIN, 8):
            chosen, learned = [i for i in order[first : first + 8] if i not in broken and due[i] <= epoch], []
            done += 1
            if not chosen:
                continue
            images = torch.from_numpy(np.stack([preprocess.fit(data.train.picture(i)) for i in chosen]))
            share = factor(schedule, warmup, (done - 0.5) / (epochs * STEPS)) * len(chosen) / 8
            for group, rate in zip(opt.param_groups, rates, strict=False):
                group["lr"] = rate * share
            labels = torch.from_numpy(data.train.labels[chosen])
            sparsebp.fit_step(model, opt, preprocess.normalise(images), labels, loss, skip=sure)
            due |= {i: epoch + 1 + rest for i, was in zip(chosen, learned, strict=True) if was}
    return sparsebp.restore(model).state_dict()


RESTING = {"skip_above": 0.4, "epochs": 5}
LOOPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {}),
    "constant": ({"schedule": "constant"}, {"schedule": "constant"}),
    "linear, warm-up": ({"schedule": "linear", "warmup": 0.4}, {"schedule": "linear", "warmup": 0.4}),
    "classifier's rate": ({"classifier_lr": 0.2}, {"rates": (0.1, 0.1, 0.2)}),
    "biases' rate": ({"bias_lr": 0.3}, {"rates": (0.1, 0.3, 0.05)}),
    "layers' rates": ({"layer_rates": {"*": 9.0, "f*": 1.0, "*.0.0": 0.25}}, {"slow": ".0.0"}),
    "learned pictures left out": ({"skip_above": 0.3}, {"skip_above": 0.3}),
    "learned pictures rest": (RESTING | {"rest": 1}, RESTING | {"rest": 1}),
    "learned pictures rest for long": (RESTING | {"rest": 2}, RESTING | {"rest": 2}),
    "smoothing, decay": ({"label_smoothing": 0.1, "weight_decay": 0.1}, {"smoothing": 0.1, "decay": 0.1}),
    "broken pictures": ({"data": with_broken({3, 4})}, {"broken": {3, 4}}),
    "frozen classifier": ({"ratios": {"classifier.1": 0}}, {"ratios": {"classifier.1": 0}}),
}


@pytest.mark.parametrize("kind", LOOPS)
def test_a_run_is_the_documented_loop(kind: str) -> None:
    """Rates at the middle of each step; a batch of fewer pictures takes its share of the rate."""
    changes, own = LOOPS[kind]
    preprocess = Preprocess((SIDE, SIDE))
    assert_same_weights(weights_of(finetune(preprocess=preprocess, **changes)), by_hand(dataset(), **own))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.25, 0.99])
def test_schedules(schedule: str, warmup: float) -> None:
    shares = [i / 200 for i in range(201)]
    got = [rate_factor(schedule, share, warmup) for share in shares]
    assert got == pytest.approx([factor(schedule, warmup, share) for share in shares])
    assert all(0 <= value <= 1 for value in got)
    assert rate_factor(schedule, 1.0, warmup) == pytest.approx(1.0 if schedule == "constant" else 0.0)
    assert rate_factor(schedule, warmup, warmup) == 1.0


def test_losses_are_smoothed_and_dated() -> None:
    losses = finetune().history.losses
    assert [at for at, _ in losses] == pytest.approx([i / STEPS for i in range(1, EPOCHS * STEPS + 1)])
    raw = [losses[0][1]] + [(b - 0.98 * a) / 0.02 for (_, a), (_, b) in pairwise(losses)]
    assert all(0 < loss < 20 for loss in raw)


def test_a_long_run_keeps_some_hundred_losses() -> None:
    history = History()
    for step in range(1, 40_001):
        history.add_loss(1.0, Position(0, step, 40_000, 1))
    assert 400 <= len(history.losses) <= 600
    assert history.losses[-1][0] == 1.0


# -- what it tells -----------------------------------------------------------------------------------


def test_events_come_in_order(tmp_path: Path) -> None:
    log = Log()
    finetune(tmp_path, observer=log, checkpoint_every=2)
    test = [("evaluating", 64, TEST), ("evaluating", TEST, TEST)]
    assert log.events == [
        ("planned", 16384, 0, 0),
        ("saved", "checkpoint-000001"),
        ("stepped", 0, 1, 8),
        ("stepped", 0, 2, 8),
        ("saved", "checkpoint-000002"),
        ("stepped", 0, 3, 4),
        *test,
        ("epoch ended", 1),
        ("saved", "checkpoint-000003"),
        ("stepped", 1, 1, 8),
        ("saved", "checkpoint-000004"),
        ("stepped", 1, 2, 8),
        ("stepped", 1, 3, 4),
        ("saved", "checkpoint-000005"),
        *test,
        ("epoch ended", 2),
        ("saved", "checkpoint-000006"),
    ]


def test_without_a_folder_nothing_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = Log()
    assert finetune(observer=log).weights is None
    assert log.only("saved") == []
    assert names(tmp_path) == set()


# -- broken pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"workers": 2}, {"cache": "memory"}, {"cache": "memory", "augment": "flip"}], ids=str
)
@pytest.mark.parametrize("with_folder", [True, False])
def test_broken_pictures_are_left_out_and_told_once(
    settings: dict[str, Any], with_folder: bool, tmp_path: Path
) -> None:
    log = Log()
    out = tmp_path / "run" if with_folder else None
    result = finetune(out, data=with_broken({3, 11}, {66}), observer=log, **settings)
    told = [("skipped", f"{name}", "it is torn") for name in ("test[66]", "train[11]", "train[3]")]
    assert sorted(log.only("skipped")) == told
    assert sorted(result.history.skipped) == ["test[66]", "train[11]", "train[3]"]
    assert sum(images for _, _, _, images in log.only("stepped")) == EPOCHS * (TRAIN - 2)
    assert log.only("evaluating")[-1] == ("evaluating", TEST - 1, TEST)


def test_a_batch_of_broken_pictures_is_passed_over() -> None:
    first = set(np.random.default_rng((0, 0)).permutation(TRAIN)[:8].tolist())
    log = Log()
    finetune(data=with_broken(first), observer=log)
    assert log.only("stepped")[0][1:3] == (0, 2)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("broken", [({3}, set()), (set(), {66})], ids=["train", "test"])
def test_strict_fails_at_a_broken_picture(broken: tuple[set[int], set[int]], workers: int) -> None:
    with pytest.raises(BrokenPicture, match=r"(train\[3\]|test\[66\]): it is torn"):
        finetune(data=with_broken(*broken), strict=True, workers=workers)


@pytest.mark.parametrize("part", ["train", "test"])
def test_pictures_that_are_all_broken_are_no_training(part: str) -> None:
    everything = range(TEST)
    data = with_broken(everything) if part == "train" else with_broken((), everything)
    with pytest.raises(ValueError, match="no picture could be read"):
        finetune(data=data)


# -- dropout -------------------------------------------------------------------------------------------


def test_dropout_is_another_during_the_run_only() -> None:
    model = network(dropout=0.3)
    changed = finetune(model=model, dropout=0.0)
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.3]
    assert_same_weights(weights_of(changed), weights_of(finetune(model=network(dropout=0.0))))


def test_dropout_is_put_back_after_an_error() -> None:
    model = network(dropout=0.3)
    with pytest.raises(FloatingPointError):
        finetune(model=model, dropout=0.1, **DIVERGING)
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.3]
