"""Weights whose classes have other names or another order: each row goes where its class is, and it is said."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import sparsebp
import torch
from networks import tiny_mobilenet
from runs import (
    CLASSES,
    RUN,
    SETTINGS,
    Log,
    Run,
    assert_same_weights,
    dataset,
    finetune,
    here,
    interrupt,
    run,
    weights_of,
)
from sparsebp import LoadedWeights, load_weights
from sparsebp.cli.errors import Exit
from sparsebp.data import Arrays, Dataset
from sparsebp.networks.pretrained import WeightFile, read_weights, write_weights
from torch import nn

__all__ = ["here", "run"]  # fixtures

LAST = "classifier.1"


def known(classes: Sequence[str] | None, model: nn.Module | None = None) -> WeightFile:
    """Weights that name their classes."""
    tensors = dict((model or tiny_mobilenet(1, len(classes or ()))).state_dict())
    return WeightFile(tensors, {"classes": list(classes)} if classes is not None else {})


ROWS: dict[str, tuple[str, str, list[int | None], str]] = {
    "the same": ("a b c", "a b c", [0, 1, 2], f"{LAST} goes on by name: the same 3 classes"),
    "another order": ("a b c", "c a b", [2, 0, 1],
                      f"{LAST} goes on by name: the same 3 classes in another order, each with its own row"),
    "one more": ("a c", "a b c", [0, None, 1], f"{LAST} goes on by name: 2 kept (a, c), 1 new (b)"),
    "one less": ("a b c", "a c", [0, 2], f"{LAST} goes on by name: 2 kept (a, c), 1 dropped (b)"),
    "another one": ("a b", "b z", [1, None], f"{LAST} goes on by name: 1 kept (b), 1 new (z), 1 dropped (a)"),
    "no letter is as good as another": ("A b", "a b", [None, 1],
                                        f"{LAST} goes on by name: 1 kept (b), 1 new (a), 1 dropped (A)"),
    "none": ("a b", "x y", [None, None], f"{LAST} starts afresh: the weights know none of these classes, but a, b"),
    "many": ("a b c d e f", "f g", [5, None],
             f"{LAST} goes on by name: 1 kept (f), 1 new (g), 5 dropped (a, b, c and 2 more)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_rows_and_biases_go_by_the_names_of_their_classes(kind: str) -> None:
    before, after, rows, said = ROWS[kind]
    weights, model = known(before.split()), tiny_mobilenet(0, len(after.split()))
    loaded = load_weights(model, weights, after.split())
    assert loaded == LoadedWeights(LAST if set(rows) == {None} else None, said, "")
    for name in ("weight", "bias"):
        given, got = weights.tensors[f"{LAST}.{name}"], getattr(model.classifier[1], name)
        for new, old in enumerate(rows):
            assert torch.equal(got[new], given[old]) if old is not None else not (got[new] == given).any(), name
    assert torch.equal(model.features[0][0].weight, weights.tensors["features.0.0.weight"])


def test_new_classes_get_fresh_rows_whatever_the_model_has_learned() -> None:
    """The seed's; neither what stood in the same row before nor another class's."""
    made = []
    for seed in (0, 0, 1):
        model = tiny_mobilenet(1, 2)
        load_weights(model, known(["a", "b"], model), ["b", "c"], seed=seed)
        made.append(model.classifier[1].weight[1].clone())
        assert not (made[-1] == tiny_mobilenet(1, 2).classifier[1].weight).any()
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_convolution_that_classifies_is_treated_alike() -> None:
    def network(classes: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, classes, 1, bias=False), nn.Flatten())

    weights, model = known(["a", "b", "c"], network(3)), network(7)
    load_weights(model, weights, ["c", "b"])
    assert torch.equal(model[1].weight, weights.tensors["1.weight"][[2, 1]])


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_encoded_either_way(forms: tuple[str, str]) -> None:
    before, after = ([unicodedata.normalize(form, name) for name in ("thé", "café")] for form in forms)
    assert before != after
    weights, model = known(before), tiny_mobilenet(0, 2)
    assert load_weights(model, weights, after[::-1]).fresh is None
    assert torch.equal(model.classifier[1].weight, weights.tensors[f"{LAST}.weight"][[1, 0]])


def test_names_that_only_their_encoding_tells_apart_stay_apart() -> None:
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    weights, model = known(names), tiny_mobilenet(0, 2)
    load_weights(model, weights, names[::-1])
    assert torch.equal(model.classifier[1].weight, weights.tensors[f"{LAST}.weight"][[1, 0]])


UNNAMED: dict[str, tuple[WeightFile, str]] = {
    "as many": (known(None, tiny_mobilenet(1, 2)),
                "goes on: the weights name no classes; its 2 outputs are taken for x, y, in this order"),
    "others": (known(None, tiny_mobilenet(1, 5)), "starts afresh: the weights name no classes, and were made for 5"),
    "alike": (WeightFile(dict(tiny_mobilenet(1, 2).state_dict()), {"classes": ["a", "a"]}),
              "goes on: the weights call several classes the same; its 2 outputs are taken for x, y, in this order"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNNAMED)
def test_without_names_the_number_of_classes_counts_and_that_is_said(kind: str) -> None:
    weights, said = UNNAMED[kind]
    model = tiny_mobilenet(0, 2)
    assert load_weights(model, weights, ["x", "y"]).classifier == f"{LAST} {said}"
    assert torch.equal(model.classifier[1].weight, weights.tensors[f"{LAST}.weight"]) == said.startswith("goes on")


def wider(classes: list[str]) -> WeightFile:
    weights = known(classes)
    return WeightFile({**weights.tensors, f"{LAST}.weight": torch.zeros(len(classes), 65)}, weights.metadata)


REFUSED: dict[str, tuple[WeightFile, Sequence[str], str]] = {
    "another model": (known(["a"], nn.Linear(2, 3)), ["a"], "belong to another model"),
    "a wrong number of names": (
        known(["a", "b"], tiny_mobilenet(1, 3)),
        ["a", "b"],
        "name 2 classes, but .* 3 outputs",
    ),
    "another width": (wider(["a", "b"]), ["b", "a"], r"weight has shape \[2, 65\], the model expects \[2, 64\]"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_leaves_the_model_as_it_is(kind: str) -> None:
    weights, classes, reason = REFUSED[kind]
    model = tiny_mobilenet(0, 10)
    layer, before = model.classifier[1], {k: t.clone() for k, t in model.state_dict().items()}
    with pytest.raises(ValueError, match=reason):
        load_weights(model, weights, classes)
    assert model.classifier[1] is layer
    assert_same_weights(dict(model.state_dict()), before)


def test_classes_are_names() -> None:
    for wrong in ("ab", [1, 2]):
        with pytest.raises(TypeError, match="classes: expected the names"):
            load_weights(tiny_mobilenet(0), known(["a", "b"]), wrong)  # type: ignore[arg-type]


def test_a_header_with_other_than_names_is_damaged(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", tiny_mobilenet(), {"classes": [1, 2]})
    with pytest.raises(ValueError, match=r"w\.safetensors: what sparsebp wrote into its header is damaged"):
        read_weights(tmp_path / "w.safetensors")


# -- runs that continue from a run -------------------------------------------------------------------------


def permuted(order: Sequence[int]) -> Dataset:
    """The same pictures with their classes in another order."""
    whole = dataset()
    new = np.argsort(order)
    parts = [Arrays(part.images, new[part.labels], part.title) for part in (whole.train, whole.test)]
    return Dataset(*parts, tuple(CLASSES[i] for i in order), whole.kind)


STILL = {"lr": 1e-12, "bias_lr": 1e-12, "classifier_lr": 1e-12, "epochs": 1}
"""A run that changes nothing to speak of."""


def test_a_run_goes_on_with_classes_in_another_order(tmp_path: Path) -> None:
    first = finetune(tmp_path / "first", epochs=4)
    log = Log()
    log.loaded = lambda weights: log.events.append(("loaded", weights.classifier))  # type: ignore[method-assign]
    again = finetune(
        data=permuted([2, 3, 0, 1]), model=tiny_mobilenet(5, 7), weights=first.weights, observer=log, **STILL
    )
    assert again.accuracy == first.accuracy > 0.5
    assert again.loaded is not None
    assert "another order, each with its own row" in again.loaded.classifier
    assert log.events[0] == ("loaded", again.loaded.classifier)


def test_a_run_from_a_file_takes_its_pixels_as_the_file_says(tmp_path: Path) -> None:
    preprocess = sparsebp.data.Preprocess((16, 16), range=(-1, 1), mean=(0, 0, 0), std=(1, 1, 1))
    first = finetune(tmp_path / "first", preprocess=preprocess, epochs=1)
    again = finetune(tmp_path / "again", model=tiny_mobilenet(5, 4), weights=first.weights, **STILL)
    assert read_weights(again.weights).metadata["preprocess"] == preprocess.to_dict()


def test_a_checkpoint_s_weights_say_their_classes_too(tmp_path: Path) -> None:
    stopped = interrupt(tmp_path, "stepped", 2)
    assert stopped.checkpoint is not None
    found = read_weights(stopped.checkpoint / "weights.safetensors")
    assert found.metadata["classes"] == list(CLASSES)
    assert set(found.metadata) == {"classes", "preprocess"}


def test_a_model_is_left_alone_where_the_run_cannot_begin(tmp_path: Path) -> None:
    first = finetune(tmp_path, epochs=1)
    model = tiny_mobilenet(3, 4)
    before = {k: t.clone() for k, t in model.state_dict().items()}
    with pytest.raises(FileExistsError):
        sparsebp.finetune(model, dataset(), weights=first.weights, out=tmp_path, **SETTINGS)
    assert_same_weights(weights_of(first), dict(first.model.state_dict()))
    assert_same_weights(dict(model.state_dict()), before)


# -- the command line ----------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda p: None, "goes on by name: the same 4 classes\n"),
    "one gone": (
        lambda p: shutil.rmtree(p / "grey"),
        r"goes on by name: 3 kept \(blue, green, red\), 1 dropped \(grey\)\n",
    ),
    "one new": (
        lambda p: shutil.copytree(p / "red", p / "crimson"),
        r"4 kept \(blue, green, grey and 1 more\), 1 new \(cr",
    ),
    "renamed": (
        lambda p: (p / "blue").rename(p / "zaffre"),
        r"3 kept \(green, grey, red\), 1 new \(zaffre\), 1 dropped \(b",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_the_command_says_what_becomes_of_the_classes(kind: str, run: Run, here: Path) -> None:
    change, said = CHANGES[kind]
    assert run(*RUN, "--epochs", "3", "--out", "first")[0] == Exit.OK
    change(here / "pictures")
    weights = ["--weights", "first/model.safetensors", "--out", "second", "--epochs", "1"]
    code, out, err = run(*RUN, *weights, "--lr", "1e-12", "--bias-lr", "1e-12", "--classifier-lr", "1e-12")
    assert (code, err) == (Exit.OK, "")
    assert len([line for line in out.splitlines() if line.startswith("classifier ")]) == 1
    assert re.search(rf"classifier +{LAST} .*{said}", out), out
