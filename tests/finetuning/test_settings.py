"""What a run cannot be asked for, and what it says instead; nothing has begun by then."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import sparsebp
import torch
from runs import CLASSES, SETTINGS, SIDE, At, dataset, finetune, names, network, pictures
from sparsebp.data import Dataset, Preprocess, Subset
from sparsebp.finetuning import Settings
from torch import nn

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"budget": "a lot"}, ValueError, "budget: .*256KB"),
    ({"budget": 0}, ValueError, "budget"),
    ({"budget": 1.5}, TypeError, "budget"),
    ({"input_size": 0}, ValueError, "input_size: expected at least 1, got 0"),
    ({"input_size": (32, -1)}, ValueError, "input_size: expected at least 1, got -1"),
    ({"input_size": (32, 32.0)}, TypeError, r"input_size: expected a whole number, got float 32\.0"),
    ({"input_size": True}, TypeError, "input_size: expected a whole number, got bool True"),
    ({"input_size": (3, 32, 32)}, ValueError, r"input_size: expected an int or \(height, width\)"),
    ({"input_size": "32"}, ValueError, "input_size: expected an int or"),
    ({"epochs": 0}, ValueError, "epochs: expected at least 1, got 0"),
    ({"epochs": 1.5}, TypeError, "epochs: expected a whole number, got float"),
    ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
    *(({name: 2**70}, ValueError, f"{name}: expected at most {2**63 - 1}, got") for name in ("batch_size", "epochs")),
    ({"resample_every": 2**63}, ValueError, f"resample_every: expected at most {2**63 - 1}"),
    ({"input_size": 2**31}, ValueError, f"input_size: expected at most {2**31 - 1}"),
    ({"lr": 10**400}, ValueError, "lr: expected a finite number"),
    ({"batch_size": True}, TypeError, "batch_size: expected a whole number, got bool"),
    ({"micro_batch": 0}, ValueError, "micro_batch: expected at least 1"),
    ({"micro_batch": 9, "batch_size": 8}, ValueError, "micro_batch: expected at most the batch size, 8, got 9"),
    ({"resample_every": 0}, ValueError, "resample_every: expected at least 1"),
    ({"lr": -0.1}, ValueError, r"lr: expected a finite number from 0, got -0\.1"),
    ({"lr": math.inf}, ValueError, "lr: expected a finite number"),
    ({"lr": math.nan}, ValueError, "lr: expected a finite number"),
    ({"lr": "0.1"}, TypeError, "lr: expected a number, got str"),
    ({"lr": True}, TypeError, "lr: expected a number, got bool"),
    ({"classifier_lr": -1.0}, ValueError, "classifier_lr: expected a finite number from 0"),
    ({"schedule": "step"}, ValueError, "schedule: expected one of cosine, linear, constant, got 'step'"),
    ({"warmup": 1.0}, ValueError, r"warmup: expected a finite number from 0 to 0\.99, got 1\.0"),
    ({"momentum": 1.0}, ValueError, "momentum: expected a finite number from 0 to"),
    ({"weight_decay": -1.0}, ValueError, "weight_decay: expected"),
    ({"label_smoothing": 1.1}, ValueError, "label_smoothing: expected a finite number from 0 to 1"),
    ({"skip_above": 0.0}, ValueError, "skip_above: expected more than 0"),
    ({"skip_above": -0.1}, ValueError, "skip_above: expected a finite number from 0 to 1"),
    ({"label_smoothing": math.nan}, ValueError, "label_smoothing: expected a finite number"),
    ({"max_update_ratio": 0}, ValueError, "max_update_ratio: expected a share above 0"),
    ({"max_update_ratio": 1.1}, ValueError, "max_update_ratio: expected a share above 0 to 1"),
    ({"ratios": {"features.*": 2}}, ValueError, "ratios.*expected a share"),
    ({"layer_rates": [0.1]}, TypeError, "layer_rates: expected a mapping"),
    ({"layer_rates": {"*": -1.0}}, ValueError, r"layer_rates\['\*'\]: expected a finite number from 0"),
    ({"layer_rates": {"nothing.*": 1.0}}, ValueError, "layer_rates: 'nothing.*' matches no convolution that trains"),
    ({"layer_rates": {"classifier.*": 2.0}}, ValueError, r"layer_rates: 'classifier\.\*' matches no convolution"),
    ({"ratios": [0.1]}, TypeError, "ratios: expected a mapping"),
    ({"sampler": "best"}, ValueError, "sampler: expected one of random, .* got 'best'"),
    ({"sampler": 3}, TypeError, "sampler: expected a name or a"),
    ({"dropout": 1.0}, ValueError, r"dropout: expected a finite number from 0 to 0\.99, got 1\.0"),
    ({"dropout": "none"}, TypeError, "dropout: expected a number, got str"),
    ({"normalise": 1}, TypeError, "normalise: expected True or False, got int"),
    ({"train_bias": 1}, TypeError, "train_bias: expected True or False"),
    ({"augment": "flop"}, ValueError, "augment: expected none, or names.* got 'flop'"),
    ({"augment": 3}, TypeError, "augment: expected names"),
    ({"preprocess": "imagenet"}, TypeError, r"preprocess: expected a sparsebp\.data\.Preprocess, got str"),
    ({"preprocess": Preprocess((32, 32))}, ValueError, r"preprocess: expected size \(16, 16\) as in input_size"),
    ({"seed": -1}, ValueError, "seed: expected 0 to"),
    ({"seed": 1.0}, TypeError, "seed: expected an int"),
    ({"learning_rate": 0.1}, TypeError, "unexpected keyword argument 'learning_rate'"),
    ({"checkpoint_every": 0}, ValueError, "checkpoint_every: expected a whole number of at least 1, got 0"),
    ({"workers": -1}, ValueError, "workers: expected a whole number of at least 0"),
    ({"workers": True}, ValueError, "workers: expected a whole number"),
    ({"cache": "tape"}, ValueError, "cache: expected memory, disk, auto, none or None, got .tape."),
    ({"cache": "disk", "augment": "flip,crop"}, ValueError, "cache: with augment=crop,flip"),
]


@pytest.mark.parametrize(("change", "error", "reason"), WRONG, ids=[str(case[0]) for case in WRONG])
def test_a_wrong_setting_is_named_with_what_was_expected(
    change: dict[str, Any], error: type[Exception], reason: str, tmp_path: Path
) -> None:
    steps: list[int] = []
    with pytest.raises(error, match=reason):
        finetune(tmp_path / "run", observer=At("stepped", 1, lambda: steps.append(1)), **change)
    assert steps == []
    assert not (tmp_path / "run").exists() or names(tmp_path / "run") == set()


def test_settings_survive_json() -> None:
    """Defaults filled in, so that equal runs are equal."""
    settings = Settings(budget="16KB", input_size=16, augment="flip,crop", ratios={"a.*": 0.1}, lr=0.2)
    plain = settings.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["budget"] == 16384
    assert plain["input_size"] == [16, 16]
    assert (plain["lr"], plain["bias_lr"], plain["classifier_lr"]) == (0.2, 1.0, 0.5)
    assert plain["augment"] == ["crop", "flip"]
    same = Settings(budget=16384, input_size=(16, 16), augment=("crop", "flip"), ratios={"a.*": 0.1}, lr=0.2)
    assert same.to_dict() == plain


@pytest.mark.parametrize(("normalise", "rates"), [(True, (0.0003, 0.0015, 0.00075)), (False, (0.0075, 0.06, 0.0075))])
def test_rates_have_defaults_of_either_kind(normalise: bool, rates: tuple[float, ...]) -> None:
    settings = Settings(normalise=normalise)
    assert (settings.rate_at(0.02), settings.rate_of_biases, settings.rate_of_classifier) == pytest.approx(rates)


@pytest.mark.parametrize(("share", "factor"), [(0.001, 1), (0.02, 1), (0.08, 1 / 2), (0.32, 1 / 4), (1.0, 0.02**0.5)])
def test_a_default_rate_falls_with_the_root_of_the_share_of_weights(share: float, factor: float) -> None:
    assert Settings().rate_at(share) == pytest.approx(0.0003 * factor)
    assert Settings(normalise=False).rate_at(share) == 0.0075
    assert Settings(lr=0.01).rate_at(share) == 0.01


def test_a_rectangle_is_height_and_width() -> None:
    result = finetune(input_size=(16, 24), epochs=1)
    assert result.plan.input_size == (3, 16, 24)


# -- models and data ---------------------------------------------------------------------------------


def maps(model: nn.Module) -> nn.Module:
    """Without the pooling: one number per class and place."""
    return nn.Sequential(model.features, nn.Conv2d(64, 4, 1))


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "more classes": (network(classes=7), ValueError, r"model: expected an output of \[n, 4\].* got \[n, 7\]"),
    "maps": (maps(network()), ValueError, r"model: expected an output of \[n, 4\].* got \[n, 4, 2, 2\]"),
    "float64": (network().double(), (TypeError, ValueError), "float32"),
    "a name": ("mobilenet_v2", TypeError, r"model: expected a torch\.nn\.Module, got str"),
    "converted": (
        sparsebp.convert(network(), SETTINGS["budget"], input_size=(3, SIDE, SIDE)),
        TypeError,
        "converted already",
    ),
    "no parameters": (nn.Flatten(), sparsebp.UnsupportedModel, "no parameters"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_cannot_be_trained_is_refused_before_training(kind: str, tmp_path: Path) -> None:
    model, error, reason = REFUSED[kind]
    steps: list[int] = []
    with pytest.raises(error, match=reason):
        finetune(tmp_path / "run", model, observer=At("saved", 1, lambda: steps.append(1)))
    assert steps == []


def test_a_budget_that_holds_no_plan_says_which_would(tmp_path: Path) -> None:
    with pytest.raises(sparsebp.BudgetExceeded) as caught:
        finetune(tmp_path / "run", budget=100)
    assert caught.value.required > 100
    finetune(None, budget=caught.value.required, epochs=1)


def test_data_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="data: expected"):
        sparsebp.finetune(network(), [1, 2], **SETTINGS)  # type: ignore[arg-type]


def test_labels_beyond_the_classes_are_refused() -> None:
    data = Dataset(pictures(8, 0), pictures(8, 1), ("one", "two"), "four labels")
    with pytest.raises(ValueError, match="classes"):
        finetune(None, network(classes=2), data)


def test_a_data_set_without_test_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="test"):
        finetune(data=Dataset(pictures(8, 0), Subset(pictures(8, 1), []), CLASSES, ""))


def test_the_dense_audit_leaves_it_to_convert_to_refuse_a_model(tmp_path: Path) -> None:
    with pytest.raises(sparsebp.UnsupportedModel, match="does not accept an input of size"):
        finetune(tmp_path / "run", torch.nn.Conv2d(1, 4, 3), dense_audit=True)


def test_the_dense_audit_works_where_a_feature_map_is_one_pixel() -> None:
    """Batch norms in training mode refuse one value a channel; that is no reason to refuse the run."""
    result = finetune(input_size=8, budget="64KB", epochs=1, dense_audit=True)
    assert result.memory.dense is None or result.memory.dense > 0


def test_a_run_of_one_picture_a_step() -> None:
    result = finetune(data=dataset(4, 4), batch_size=1, epochs=1)
    assert len(result.history.losses) == 4
    assert all(torch.isfinite(p).all() for p in result.model.parameters())
