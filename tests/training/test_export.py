"""Whose rates a plan file has, and what is said where something is wrong with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors
import sparsebp
import torch
from networks import conv_norm, tiny_mobilenet
from sparsebp.data import Preprocess
from sparsebp.finetuning import Settings
from sparsebp.networks.pretrained import read_weights
from sparsebp.runtime import Session
from training import SIZE, assert_same, everything, one_thread, step  # noqa: F401

PICTURES = Preprocess((16, 16))


def converted(**keywords: Any) -> sparsebp.SparseModel:
    return sparsebp.convert(tiny_mobilenet(), "1MB", input_size=SIZE, **keywords).train()


# -- keywords without an optimizer -------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [False, True], ids=["plain", "normalised"])
def test_keywords_give_the_rates_that_a_run_gives(normalise: bool, tmp_path: Path) -> None:
    """The groups of a run's optimizer are the oracle."""
    how = {"lr": 0.01, "layer_rates": {"features.6.*": 0.5}, "weight_decay": 0.01, "normalise": normalise}
    model = converted(normalise=normalise)
    sparsebp.export(model, tmp_path / "keywords", preprocess=PICTURES, batch_size=1, **how)
    wanted = Settings(**how)
    opt = sparsebp.optim.SGD(wanted.groups(model), lr=1.0, weight_decay=0.01)
    sparsebp.export(model, tmp_path / "optimizer", preprocess=PICTURES)
    assert {g["lr"] for g in opt.param_groups} == {
        0.01,
        0.005,
        wanted.rate_of_biases,
        wanted.rate_of_classifier,
    }
    assert (tmp_path / "keywords").read_bytes() == (tmp_path / "optimizer").read_bytes()


def test_the_schedule_ends_with_the_epochs(tmp_path: Path) -> None:
    model = converted()
    how = {"preprocess": PICTURES, "lr": 0.01, "batch_size": 4}
    sparsebp.export(model, tmp_path / "epochs", epochs=3, examples=9, **how)
    sparsebp.export(model, tmp_path / "steps", steps=9, schedule="cosine", **how)
    assert (tmp_path / "epochs").read_bytes() == (tmp_path / "steps").read_bytes()
    sparsebp.export(model, tmp_path / "endless", **how)
    sparsebp.export(model, tmp_path / "constant", schedule="constant", **how)
    assert (tmp_path / "endless").read_bytes() == (tmp_path / "constant").read_bytes()
    assert Session(tmp_path / "endless").sizes.batch == 4
    sparsebp.export(model, tmp_path / "usual", lr=0.01)
    assert Session(tmp_path / "usual").sizes.batch == Settings.batch_size


def test_what_is_done_of_the_schedule_goes_along(tmp_path: Path) -> None:
    model = converted()
    sparsebp.export(model, tmp_path / "plan", lr=0.01, steps=100, done=40)
    assert Session(tmp_path / "plan").progress.batches == 40
    sparsebp.export(model, tmp_path / "end", lr=0.01, steps=100, done=100)
    assert Session(tmp_path / "end").progress.batches == 100


def test_an_optimizer_is_not_beyond_the_end_of_the_schedule(tmp_path: Path) -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.01)
    for _ in range(3):
        step(model, opt)
    sparsebp.export(model, tmp_path / "plan", steps=3)
    with pytest.raises(ValueError, match=r"done: expected at most the 2 steps .*, the model's optimizer took 3"):
        sparsebp.export(model, tmp_path / "plan", steps=2)
    sparsebp.export(model, tmp_path / "anew", steps=2, done=0)
    assert Session(tmp_path / "anew").progress.batches == 0


# -- beside an optimizer -----------------------------------------------------------------------------


def test_keywords_that_agree_with_the_optimizer_change_nothing(tmp_path: Path) -> None:
    model = converted(momentum=True)
    opt = sparsebp.optim.SGD(model, lr=0.02, momentum=0.5)
    sparsebp.export(model, tmp_path / "plan", preprocess=PICTURES)
    agreed = {"lr": 0.02, "bias_lr": 0.02, "classifier_lr": 0.02, "momentum": 0.5, "weight_decay": 0.0}
    sparsebp.export(model, tmp_path / "agreed", preprocess=PICTURES, **agreed)
    assert (tmp_path / "agreed").read_bytes() == (tmp_path / "plan").read_bytes()
    del opt


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"lr": 0.01}, r"lr: 0\.01 was given, but an optimizer is attached to the model, which has 0\.02"),
        ({"bias_lr": 0.01}, r"bias_lr: 0\.01 was given, .* which has 0\.02"),
        ({"classifier_lr": 0.01}, r"classifier_lr: 0\.01 was given, .* which has 0\.02"),
        ({"lr": 0.02, "layer_rates": {"features.6.*": 0.5}}, r"lr: 0\.01 was given, .* which has 0\.02"),
        ({"momentum": 0.9}, r"momentum: 0\.9 was given, .* which has 0\.5"),
        ({"weight_decay": 0.1}, r"weight_decay: 0\.1 was given, .* which has 0\.0"),
        ({"normalise": True}, r"normalise: True was given, .* which has False"),
    ],
    ids=str,
)
def test_keywords_that_contradict_the_optimizer_are_refused(rules: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = converted(momentum=True, normalise=True)
    opt = sparsebp.optim.SGD(model, lr=0.02, momentum=0.5)
    with pytest.raises(ValueError, match=words):
        sparsebp.export(model, tmp_path / "plan", **{"normalise": False, **rules})
    assert list(tmp_path.iterdir()) == []
    del opt


# -- wrong ones --------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"schedule": "foo"}, ValueError, "schedule: expected one of cosine, linear, constant, got 'foo'"),
    ({"schedule": "linear"}, ValueError, "schedule: 'linear' has to know where the steps end"),
    ({"warmup": 0.1}, ValueError, r"warmup: 0\.1 has to know where the steps end"),
    ({"warmup": 1.0, "steps": 5}, ValueError, r"warmup: expected a finite number from 0 to 0\.99"),
    ({"epochs": 2}, ValueError, "examples: expected beside epochs"),
    ({"examples": 2}, ValueError, "epochs: expected beside examples"),
    ({"epochs": 1, "examples": 2, "steps": 3}, ValueError, "steps: expected either them, or epochs and examples"),
    ({"epochs": 0, "examples": 2}, ValueError, "epochs: expected at least 1"),
    ({"steps": -1}, ValueError, "steps: expected at least 1"),
    ({"steps": 1.5}, TypeError, "steps: expected a whole number"),
    ({"steps": 2**70}, ValueError, f"steps: expected at most {2**63 - 1}, got {2**70}"),
    ({"epochs": 2**62, "examples": 100}, ValueError, f"epochs: expected at most {(2**63 - 1) // 7} of 100 examples"),
    ({"epochs": 1, "examples": 2**70}, ValueError, f"examples: expected at most {2**63 - 1}"),
    ({"done": 2**70}, ValueError, f"done: expected at most {2**63 - 1}"),
    ({"done": 11, "steps": 10}, ValueError, "done: expected at most the 10 steps of the whole schedule, got 11"),
    ({"done": 6, "epochs": 1, "examples": 80}, ValueError, "done: expected at most the 5 steps"),
    ({"batch_size": 2**70}, ValueError, f"batch_size: expected at most {2**63 - 1}"),
    ({"lr": 10**400}, ValueError, "lr: expected a finite number"),
    ({"done": -1}, ValueError, "done: expected at least 1"),
    ({"lr": -0.1}, ValueError, "lr: expected a finite number from 0"),
    ({"lr": math.nan}, ValueError, "lr: expected a finite number"),
    ({"lr": "fast"}, TypeError, "lr: expected a number"),
    (
        {"layer_rates": {"features.99": 1.0}},
        ValueError,
        "layer_rates: 'features.99' matches no convolution that trains",
    ),
    ({"momentum": 0.9}, ValueError, "momentum: the plan reserves no memory for it; convert with momentum=True"),
    ({"normalise": True}, ValueError, "normalise: the plan reserves no memory for it"),
    ({"normalise": 1}, TypeError, "normalise: expected True or False"),
    ({"weight_decay": math.inf}, ValueError, "weight_decay: expected a finite number"),
    ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
    ({"batch_size": True}, TypeError, "batch_size: expected a whole number"),
    ({"label_smoothing": 2.0}, ValueError, "label_smoothing: expected a finite number from 0 to 1"),
    ({"skip_above": 0.0}, ValueError, "skip_above: expected more than 0"),
    ({"classes": "abcdefghij"}, TypeError, "classes: expected the names of the outputs"),
    ({"classes": iter("abcdefghij")}, TypeError, "classes: expected the names of the outputs"),
    ({"classes": ["a", "b"]}, ValueError, "classes: expected 10 names, got 2"),
    ({"classes": [*"abcdefghi", "c"]}, ValueError, "classes: expected different names, got 'c' twice"),
    ({"preprocess": "usual"}, TypeError, r"preprocess: expected a sparsebp\.data\.Preprocess"),
    ({"preprocess": Preprocess((32, 32))}, ValueError, r"preprocess: expected size \(16, 16\) as planned"),
    ({"speed": 1}, TypeError, "speed"),
]


@pytest.mark.parametrize(
    ("keywords", "error", "words"), WRONG, ids=[f"{i} {', '.join(case[0])}" for i, case in enumerate(WRONG)]
)
def test_a_wrong_keyword_is_named_and_nothing_is_written(
    keywords: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    model = converted()
    before = everything(model)
    with pytest.raises(error, match=words):
        sparsebp.export(model, tmp_path / "plan", **{"lr": 0.01, **keywords})
    assert list(tmp_path.iterdir()) == []
    assert_same(everything(model), before)


# -- the file as a file of weights --------------------------------------------------------------------


def test_a_plan_file_is_a_file_of_weights(tmp_path: Path) -> None:
    model, names = converted(), [f"class {i}" for i in range(10)]
    file = tmp_path / "plan.safetensors"
    origin = {"model": "tiny:tiny", "seed": "3"}
    sparsebp.export(model, file, lr=0.01, classes=names, preprocess=PICTURES, origin=origin)
    found = read_weights(file)
    assert found.metadata == {"classes": names, "preprocess": PICTURES.to_dict(), **origin}
    own = sparsebp.restore(model).state_dict()
    assert_same(found.tensors, own)
    fresh = tiny_mobilenet(seed=5, classes=3)
    loaded = sparsebp.load_weights(fresh, file, ["class 7", "class 1", "new"])
    assert "goes on by name" in loaded.classifier
    assert torch.equal(fresh.classifier[1].weight[0], own["classifier.1.weight"][7])
    assert torch.equal(fresh.features[0][0].weight, own["features.0.0.weight"])
    with safetensors.safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["origin"]) == origin


def test_layers_that_are_never_called_come_back_as_they_were(tmp_path: Path) -> None:
    net = tiny_mobilenet()
    net.unused = torch.nn.Linear(3, 5)
    net.register_buffer("table", torch.arange(6).view(2, 3))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    sparsebp.export(sparsebp.convert(net, "1MB", input_size=SIZE), tmp_path / "plan", lr=0.01)
    assert_same(sparsebp.load_file(tmp_path / "plan"), before)


def test_a_plan_file_is_known_without_its_ending(tmp_path: Path) -> None:
    model = converted()
    sparsebp.export(model, tmp_path / "plan", lr=0.01)
    assert_same(read_weights(tmp_path / "plan").tensors, sparsebp.restore(model).state_dict())


def test_buffers_that_share_memory_are_written_one_by_one(tmp_path: Path) -> None:
    net, shared = tiny_mobilenet(), torch.arange(8.0)
    for name, buffer in (("one", shared), ("same", shared), ("part", shared[2:4])):
        net.register_buffer(name, buffer)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    sparsebp.export(sparsebp.convert(net, "1MB", input_size=SIZE), tmp_path / "plan", lr=0.01)
    assert_same(sparsebp.load_file(tmp_path / "plan"), before)


def test_pictures_of_three_channels_are_no_input_of_a_grey_network(tmp_path: Path) -> None:
    net = torch.nn.Sequential(conv_norm(1, 8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 2))
    model = sparsebp.convert(net, "1MB", input_size=(1, 16, 16))
    with pytest.raises(ValueError, match="preprocess: it makes images of 3 channels, this network takes 1"):
        sparsebp.export(model, tmp_path / "plan", lr=0.01, preprocess=PICTURES)
    assert list(tmp_path.iterdir()) == []
    sparsebp.export(model, tmp_path / "plan", lr=0.01)
    assert Session(tmp_path / "plan").sizes.channels == 1


def test_a_damaged_header_and_what_is_no_plan_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "plan.safetensors"
    sparsebp.export(converted(), file, lr=0.01, classes=list("abcdefghij"))
    file.write_bytes(file.read_bytes().replace(b'[\\"a\\", ', b'[\\"a\\"; ', 1))
    with pytest.raises(ValueError, match="what sparsebp wrote into its header is damaged"):
        read_weights(file)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        sparsebp.load_file(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        sparsebp.load_file(tmp_path / "missing")


@pytest.mark.parametrize(("origin", "words"), [("mobilenet_v2", "a mapping such as"), ({"model": object()}, "JSON")])
def test_an_origin_is_words(tmp_path: Path, origin: object, words: str) -> None:
    with pytest.raises(TypeError, match=f"origin: expected .*{words}"):
        sparsebp.export(converted(), tmp_path / "plan", lr=0.01, origin=origin)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
