"""``sparsebp evaluate``: which pictures it tests, of which classes, and what it says of those it does not."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image
from runs import CLASSES, RUN, Run, here, pixels, run, write_pictures
from sparsebp.cli.errors import Exit
from sparsebp.data import open_dataset
from sparsebp.finetuning.trained_on import TrainedOn
from sparsebp.networks.pretrained import read_weights

__all__ = ["here", "run"]  # fixtures

COUNT = 12  # pictures of each class in here / "pictures"


@pytest.fixture
def evaluate(run: Run, here: Path) -> Callable[..., dict[str, Any]]:
    """``evaluate("pictures", "--all")`` with weights that were trained on ``pictures``: what it prints as JSON."""
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK

    def call(data: str, *options: str, weights: str = "run/model.safetensors") -> dict[str, Any]:
        code, out, err = run("evaluate", "--weights", weights, "--data", data, "--workers", "0", "--json", *options)
        assert (code, err) == (Exit.OK, "")
        found: dict[str, Any] = json.loads(out)
        return found

    return call


Evaluate = Callable[..., dict[str, Any]]


def add(folder: Path, name: str = "new.png", classes: tuple[str, ...] = CLASSES) -> None:
    generator = np.random.default_rng(9)
    for label in classes:
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(CLASSES.index(label), generator)).save(folder / label / name)


def held_out(folder: Path) -> int:
    return len(open_dataset(folder).test)


# -- the folder of the training --------------------------------------------------------------------


def test_of_the_training_s_folder_what_was_held_out_is_tested(here: Path, evaluate: Evaluate) -> None:
    found = evaluate("pictures")
    assert (found["pictures"], found["learned"]) == (held_out(here / "pictures"), 0)
    assert f"{found['pictures']} of {4 * COUNT} pictures, which are held out" in found["tested"]
    everything = evaluate("pictures", "--all")
    assert everything["pictures"] == 4 * COUNT
    assert everything["learned"] == 4 * COUNT - found["pictures"]
    assert evaluate("pictures", "--test-share", "1")["pictures"] == 4 * COUNT


def test_wherever_it_lies_and_whatever_joined_it(here: Path, evaluate: Evaluate) -> None:
    count = evaluate("pictures")["pictures"]
    shutil.copytree(here / "pictures", here / "copy")
    (here / "link").symlink_to("pictures")
    assert evaluate("copy")["pictures"] == evaluate("link")["pictures"] == count
    add(here / "pictures", "13.png")
    assert evaluate("pictures")["learned"] == 0
    assert evaluate("pictures")["pictures"] == held_out(here / "pictures")


def test_a_picture_that_was_learned_is_not_tested_by_another_share_either(here: Path, evaluate: Evaluate) -> None:
    found = evaluate("pictures", "--test-share", "0.9", "--seed", "5")
    assert found["learned"] == 0
    assert 0 < found["pictures"] <= held_out(here / "pictures")


def test_a_class_that_had_one_picture_tests_those_that_came_later(run: Run, here: Path) -> None:
    for file in sorted((here / "pictures" / "red").iterdir())[1:]:
        file.unlink()
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    for i in range(50, 54):
        add(here / "pictures", f"{i}.png", ("red",))
    command = ["evaluate", "--weights", "run/model.safetensors", "--data", "pictures", "--workers", "0", "--json"]
    found = json.loads(run(*command)[1])
    assert found["classes"]["red"]["pictures"] >= 1
    assert found["learned"] == 0


def test_a_test_set_of_its_own_is_what_is_tested(run: Run, here: Path) -> None:
    shutil.copytree(here / "pictures", here / "split" / "train")
    write_pictures(here / "split" / "val", 5, seed=3)
    assert run(*RUN, "--data", "split", "--out", "run", "--epochs", "1")[0] == Exit.OK
    command = ["evaluate", "--weights", "run/model.safetensors", "--workers", "0", "--json", "--data"]
    expected = {"split": (20, 0), "split/val": (20, 0), "split/train": (4 * COUNT, 4 * COUNT)}
    for data, (pictures, learned) in expected.items():
        found = json.loads(run(*command, data)[1])
        assert (found["pictures"], found["learned"]) == (pictures, learned), data
    found = json.loads(run(*command, "split", "--all")[1])
    assert (found["pictures"], found["learned"]) == (4 * COUNT + 20, 4 * COUNT)


# -- other folders ---------------------------------------------------------------------------------


def test_all_of_another_folder_is_tested(here: Path, evaluate: Evaluate) -> None:
    write_pictures(here / "apart", 5, seed=8)
    found = evaluate("apart")
    assert (found["pictures"], found["learned"]) == (20, 0)
    assert "none of this folder was held out" in found["tested"]
    assert 0 < evaluate("apart", "--test-share", "0.4")["pictures"] < 20


def test_pictures_of_it_that_were_learned_are_counted(run: Run, here: Path, evaluate: Evaluate) -> None:
    shutil.copytree(here / "pictures", here / "more")
    add(here / "more")
    found = evaluate("more")
    assert found["pictures"] == 4 * COUNT + 4
    assert found["learned"] == 4 * COUNT - held_out(here / "pictures")
    _, out, _ = run("evaluate", "--weights", "run/model.safetensors", "--data", "more", "--workers", "0")
    assert f"the weights were trained on {found['learned']} of these pictures" in out


def test_classes_are_known_by_name_and_some_may_be_missing(run: Run, here: Path, evaluate: Evaluate) -> None:
    for i in range(5):
        add(here / "field", f"{i}.png", ("red",))
    found = evaluate("field")
    assert found["pictures"] == found["classes"]["red"]["pictures"] == 5
    assert found["untested"] == ["blue", "green", "grey"]
    every = evaluate("pictures", "--all")["classes"]
    for name in CLASSES[:3]:
        shutil.rmtree(here / "pictures" / name)
    (here / "pictures" / "blue").mkdir()
    assert evaluate("pictures", "--all")["classes"]["red"] == every["red"]
    code, out, _ = run("evaluate", "--weights", "run/model.safetensors", "--data", "field", "--workers", "0")
    assert code == Exit.OK
    assert re.search(r"^accuracy \d+\.\d\d% \(nothing to test blue, green, grey with\), loss", out, re.MULTILINE)
    assert re.search(r"blue +\| +0 \| untested", out)


def test_a_class_spelt_in_another_way_is_the_same(run: Run, here: Path) -> None:
    whole, apart = "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", "gru\N{COMBINING DIAERESIS}n"
    assert unicodedata.normalize("NFC", apart) == whole
    (here / "pictures" / "green").rename(here / "pictures" / apart)
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    (here / "pictures" / apart).rename(here / "pictures" / whole)
    code, out, err = run("evaluate", "--weights", "run/model.safetensors", "--data", "pictures", "--workers", "0")
    assert (code, err) == (Exit.OK, "")
    assert "untested" not in out


# -- weights that say less -------------------------------------------------------------------------


def rewritten(file: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """A copy with another header."""
    found = read_weights(file)
    change(found.metadata)
    other = file.with_name("other.safetensors")
    safetensors.torch.save_file(found.tensors, other, {"sparsebp": json.dumps(found.metadata)})
    return str(other)


def test_weights_of_an_earlier_version_are_tested_on_what_was_drawn_for_them(here: Path, evaluate: Evaluate) -> None:
    def earlier(metadata: dict[str, Any]) -> None:
        del metadata["trained_on"], metadata["split"]

    found = evaluate("pictures", weights=rewritten(here / "run" / "model.safetensors", earlier))
    drawn = open_dataset(here / "pictures", split="draw")
    assert found["pictures"] == len(drawn.test)
    assert "--all tests the others too" in found["tested"]


def test_a_damaged_header_is_named(run: Run, here: Path, evaluate: Evaluate) -> None:
    whole = {"place": "", "pictures": ""}
    for damage in ("x", whole, {**whole, "learned": "!!"}, {**whole, "learned": "AAAA"}):
        weights = rewritten(here / "run" / "model.safetensors", lambda m, d=damage: m.update(trained_on=d))
        code, _, err = run("evaluate", "--weights", weights, "--data", "pictures")
        assert code == Exit.USAGE
        assert re.search(r"other\.safetensors: what it says of its training pictures is damaged", err)


def test_weights_do_not_tell_whose_folder_it_was(here: Path, evaluate: Evaluate) -> None:
    known = read_weights(here / "run" / "model.safetensors").metadata
    assert str(here) not in json.dumps(known)
    trained_on = TrainedOn.read(known, "weights")
    assert trained_on is not None
    assert len(trained_on.learned) == 4 * COUNT - held_out(here / "pictures")


def test_training_further_forgets_nothing_that_was_learned(run: Run, here: Path, evaluate: Evaluate) -> None:
    write_pictures(here / "apart", 5, seed=8)
    further = ["--weights", "run/model.safetensors", "--data", "apart", "--out", "run2", "--epochs", "1"]
    assert run(*RUN, *further)[0] == Exit.OK
    found = evaluate("pictures", weights="run2/model.safetensors")
    assert found["pictures"] == 4 * COUNT
    assert found["learned"] == 4 * COUNT - held_out(here / "pictures")


def test_training_further_on_nothing_but_learned_pictures_has_nothing_to_test_with(run: Run, here: Path) -> None:
    shutil.copytree(here / "pictures", here / "split" / "train")
    write_pictures(here / "split" / "val", 5, seed=3)
    assert run(*RUN, "--data", "split", "--out", "run", "--epochs", "1")[0] == Exit.OK
    code, _, err = run(*RUN, "--data", "split/train", "--out", "run2", "--weights", "run/model.safetensors")
    assert code == Exit.USAGE
    assert "--data: the weights were trained on every picture in split/train, so that none is left to test with" in err


def test_nothing_to_test_says_what_to_do(run: Run, here: Path, evaluate: Evaluate) -> None:
    learned = open_dataset(here / "pictures").train.name(0)
    for file in (here / "pictures").rglob("*.png"):
        if str(file) != learned:
            file.unlink()
    code, _, err = run("evaluate", "--weights", "run/model.safetensors", "--data", "pictures")
    assert code == Exit.USAGE
    assert "there is nothing to test with in pictures; --all tests" in err
