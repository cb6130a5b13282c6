"""Classes of which nothing can be seen, or that nothing tests: no accuracy hides them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import CLASSES, RUN, TEST, TRAIN, Log, Run, finetune, here, pictures, run, with_broken, write_pictures
from sparsebp import FineTuned
from sparsebp.cli.errors import Exit
from sparsebp.data import BrokenPicture, Dataset, Subset
from sparsebp.finetuning import checkpoint

__all__ = ["here", "run"]  # fixtures

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)
GREEN = CLASSES.index("green")


def of_class(label: int, count: int) -> list[int]:
    return list(range(label, count, len(CLASSES)))


def spoil(folder: Path) -> int:
    files = [file for file in folder.iterdir() if file.is_file()]
    for file in files:
        file.write_bytes(HEIC)
    return len(files)


# -- of which no picture can be read ---------------------------------------------------------------


@pytest.mark.parametrize("cache", [None, "memory"])
@pytest.mark.parametrize("strict", [False, True])
def test_a_class_that_cannot_be_read_is_named_before_training(cache: str | None, strict: bool) -> None:
    log, data = Log(), with_broken(of_class(GREEN, TRAIN))
    error = BrokenPicture if strict and cache else ValueError  # with a cache every picture is met before training
    with pytest.raises(error, match=r"train\[1\]: it is torn") as caught:
        finetune(data=data, observer=log, cache=cache, strict=strict)
    assert error is BrokenPicture or "no picture could be read of class green, which has 5" in str(caught.value)
    assert log.only("stepped") == []


def test_one_picture_that_can_be_read_is_enough() -> None:
    broken = of_class(GREEN, TRAIN)[:-1]
    assert finetune(data=with_broken(broken)).history.skipped == [f"train[{i}]" for i in sorted(broken, key=met(TRAIN))]


def met(count: int) -> Any:
    """In which place of the first epoch a picture comes."""
    return np.random.default_rng((0, 0)).permutation(count).tolist().index


@pytest.mark.parametrize("options", ["", "--cache memory", "--workers 2"])
def test_the_command_says_which_class_and_why(options: str, run: Run, here: Path) -> None:
    spoil(here / "pictures" / "green")
    code, out, err = run(*RUN, "--out", "run", *options.split())
    assert code == Exit.USAGE
    last = err.splitlines()[-1]
    assert re.match(r"sparsebp: error: --data: no picture could be read of class green, which has 10; .*/green/", last)
    assert "it is HEIC" in last
    assert "accuracy" not in out
    assert checkpoint.latest(here / "run") is None


def test_evaluate_does_not_pass_over_such_a_class_either(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    shutil.copytree(here / "pictures", here / "field")
    spoil(here / "field" / "green")
    for data, options in (("field", []), ("field", ["--all"]), ("field", ["--test-share", "0.3"])):
        code, out, err = run("evaluate", "--weights", "run/model.safetensors", "--data", data, *options)
        assert code == Exit.USAGE
        assert "no picture could be read of class green, which has 12" in err
        assert "accuracy" not in out


# -- that nothing tests ----------------------------------------------------------------------------


def assert_green_is_untested(result: FineTuned) -> None:
    for epoch in result.history.epochs:
        assert epoch.untested == ["green"]
    assert result.history.classes["green"] == {"pictures": 0, "correct": 0}
    assert list(result.history.classes) == list(CLASSES)
    correct = sum(of["correct"] for of in result.history.classes.values())
    tested = sum(of["pictures"] for of in result.history.classes.values())
    assert result.accuracy == correct / tested


def test_a_class_without_test_pictures_is_named_in_every_epoch() -> None:
    test = pictures(TEST, 1, "test")
    others = [i for i in range(TEST) if test.labels[i] != GREEN]
    assert_green_is_untested(finetune(data=Dataset(pictures(TRAIN, 0), Subset(test, others), CLASSES, "")))


def test_so_is_one_whose_test_pictures_are_broken() -> None:
    assert_green_is_untested(finetune(data=with_broken((), of_class(GREEN, TEST))))


def only_one_green(folder: Path) -> None:
    for file in sorted((folder / "green").iterdir())[1:]:
        file.unlink()


def test_the_command_says_so_beside_the_accuracy(run: Run, here: Path) -> None:
    only_one_green(here / "pictures")
    code, out, _ = run(*RUN, "--epochs", "2", "--out", "run")
    assert code == Exit.OK
    beside = r"test accuracy \d+\.\d\d% \(nothing to test green with\)"
    assert len(re.findall(rf"^epoch \d: {beside}, balanced accuracy \d+\.\d\d%, test loss", out, re.MULTILINE)) == 2
    assert re.search(rf"^{beside}.* of training$", out, re.MULTILINE)
    assert re.search(r"^untested +green: no picture to test with$", out, re.MULTILINE)
    assert re.search(r"^green +\| +0 \| untested$", out, re.MULTILINE)
    report = json.loads((here / "run" / "report.json").read_text())
    assert report["history"]["epochs"][-1]["untested"] == ["green"]
    evaluate = ["evaluate", "--weights", "run/model.safetensors", "--data", "pictures", "--workers", "0"]
    code, out, _ = run(*evaluate)
    assert code == Exit.OK
    assert re.search(r"^accuracy \d+\.\d\d% \(nothing to test green with\), loss", out, re.MULTILINE)
    found = json.loads(run(*evaluate, "--json")[1])
    assert found["untested"] == ["green"]
    assert found["classes"] == report["history"]["classes"]


def test_so_does_it_where_a_class_lies_in_the_training_folder_only(run: Run, here: Path) -> None:
    shutil.copytree(here / "pictures", here / "split" / "train")
    write_pictures(here / "split" / "test", 3, seed=2)
    shutil.rmtree(here / "split" / "test" / "green")
    code, out, _ = run(*RUN, "--data", "split", "--epochs", "1", "--out", "run")
    assert code == Exit.OK
    assert "(nothing to test green with)" in out
    (here / "split" / "train" / "green").rename(here / "split" / "test" / "green")
    code, _, err = run(*RUN, "--data", "split", "--epochs", "1", "--out", "run2")
    assert code == Exit.USAGE
    assert "green is only in the latter" in err


def test_each_class_has_its_accuracy_at_the_end(run: Run, here: Path) -> None:
    code, out, _ = run(*RUN, "--epochs", "1", "--out", "run")
    assert code == Exit.OK
    report = json.loads((here / "run" / "report.json").read_text())
    for name, of in report["history"]["classes"].items():
        assert re.search(rf"^{name} +\| +{of['pictures']} \| +{of['correct'] / of['pictures']:.2%}$", out, re.MULTILINE)
    assert "untested" not in out
