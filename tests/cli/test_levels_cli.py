"""Black and white of pictures with more than 8 bits from the command line: said, chosen, and remembered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from runs import CLASSES, RUN, Run, here, interrupt, run
from sparsebp.cli.errors import Exit
from sparsebp.networks.pretrained import read_weights

__all__ = ["here", "run"]  # fixtures

EVALUATE = ["evaluate", "--weights", "run/model.safetensors", "--workers", "0"]


def deepen(folder: Path, factor: float, kind: Any = np.uint16) -> Path:
    """The same pictures in grey, times a factor."""
    for file in sorted(folder.rglob("*.png")):
        with Image.open(file) as image:
            values = np.asarray(image.convert("L")).astype(float) * factor
        file.unlink()
        Image.fromarray(values.astype(kind)).save(file, "TIFF")
    return folder


@pytest.fixture
def deep(here: Path) -> Path:
    return deepen(here / "pictures", 16)


def levels_of(out: str) -> str:
    found = re.search(r"^levels +(black .+, white .+) in pictures with more than 8 bits; --levels", out, re.MULTILINE)
    assert found is not None, out
    return found[1]


def test_twelve_bits_are_found_out_said_and_remembered(run: Run, deep: Path) -> None:
    code, out, err = run(*RUN, "--epochs", "1", "--out", "run")
    assert (code, err) == (Exit.OK, "")
    assert levels_of(out) == "black 0, white 4095"
    assert read_weights("run/model.safetensors").metadata["preprocess"]["levels"] == [0.0, 4095.0, False]
    for file in deep.rglob("*.png"):  # darker now: by themselves they would be scaled to 10 bits
        with Image.open(file) as image:
            values = np.asarray(image) // 4
        Image.fromarray(values).save(file, "TIFF")
    code, out, _ = run(*EVALUATE, "--data", "pictures")
    assert code == Exit.OK
    assert levels_of(out) == "black 0, white 4095"


def test_the_option_settles_it_for_training_resuming_and_testing(run: Run, deep: Path, here: Path) -> None:
    code, out, _ = run(*RUN, "--epochs", "1", "--out", "run", "--levels", "0,1000")
    assert code == Exit.OK
    assert levels_of(out) == "black 0, white 1000"
    for options, expected in (([], "black 0, white 1000"), (["--levels=-5,2000"], "black -5, white 2000")):
        code, out, _ = run(*EVALUATE, "--data", "pictures", *options)
        assert code == Exit.OK
        assert levels_of(out) == expected
    assert "finished already" in run("finetune", "--resume", "--out", "run")[1]
    code, _, err = run("finetune", "--resume", "--out", "run", "--levels", "0,2000")
    assert code == Exit.USAGE
    assert re.search(r"--levels: the run of .* began with 0,1000, got 0,2000; leave it out", err)


def test_training_further_keeps_them(run: Run, deep: Path, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run", "--levels", "0,1000")[0] == Exit.OK
    code, out, _ = run(*RUN, "--epochs", "1", "--out", "run2", "--weights", "run/model.safetensors")
    assert code == Exit.OK
    assert levels_of(out) == "black 0, white 1000"


def test_pictures_that_would_be_black_are_no_secret(run: Run, deep: Path, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    for file in deep.rglob("*.png"):
        with Image.open(file) as image:
            values = np.asarray(image, np.float32) / 4095
        Image.fromarray(values).save(file, "TIFF")
    for options in ([], ["--json"]):
        code, _, err = run(*EVALUATE, "--data", "pictures", *options)
        assert code == Exit.OK
        assert re.match(r"levels: of 40 pictures .* 40 are nearly all .* where 0 is black and 4095 white", err)
    code, _, err = run(*RUN, "--epochs", "1", "--out", "run2", "--levels", "30,31")
    assert (code, "levels: of 40 pictures" in err) == (Exit.OK, True)


def predicted(out: str) -> dict[str, str]:
    """The class of each picture, by its path."""
    return {one["file"]: one["class"] for one in map(json.loads, out.splitlines())}


@pytest.mark.parametrize("options", [[], ["--levels=0,2000"]], ids=str)
def test_predict_sees_what_evaluate_sees_though_the_run_knew_8_bits_only(
    options: list[str], run: Run, here: Path
) -> None:
    assert run(*RUN, "--epochs", "2", "--out", "run")[0] == Exit.OK
    deepen(here / "pictures", 16)
    evaluated = json.loads(run(*EVALUATE, "--data", "pictures", "--all", "--json", *options)[1])
    code, out, err = run("predict", "--weights", "run", "--json", "--workers", "0", "pictures", *options)
    assert code == Exit.OK
    found = predicted(out)
    assert sum(Path(file).parent.name == name for file, name in found.items()) == round(48 * evaluated["accuracy"])
    taken = {name: sum(counts.get(name, 0) for counts in evaluated["confusion"].values()) for name in CLASSES}
    assert taken == {name: list(found.values()).count(name) for name in CLASSES}
    expected = "" if options else "levels: black 0, white 4095 in pictures with more than 8 bits; --levels chooses"
    assert err.startswith(expected)
    assert bool(options) == ("--levels chooses" not in err)


def test_predict_takes_the_run_s_and_counts_what_is_nearly_white(run: Run, deep: Path, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    pale = np.full((16, 16), 4090, np.uint16)
    Image.fromarray(pale).save(here / "pale.png", "TIFF")
    code, _, err = run("predict", "--weights", "run", "--workers", "0", "pictures/red/00.png", "pale.png")
    assert code == Exit.OK
    assert re.match(r"levels: of 2 pictures .* 1 are nearly all .* where 0 is black and 4095 white; .*\n$", err)


def test_pictures_of_8_bits_are_not_talked_about(run: Run, here: Path) -> None:
    code, out, err = run(*RUN, "--epochs", "1", "--out", "run", "--levels", "0,9")
    assert (code, err, "levels" in out) == (Exit.OK, "", False)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--levels=5,5", "--levels: expected two ascending numbers such as 0,4095, got '5,5'"),
        ("--levels=1", "--levels: expected two ascending numbers"),
        ("--levels=0,inf", "--levels: expected two ascending numbers"),
        ("--levels=white", "--levels: expected 2 numbers with commas between them, got 'white'"),
        ("--range=0,4095", "--range: expected what the network is to get .* are --levels=0,4095"),
    ],
)
def test_what_makes_no_sense_is_refused(option: str, reason: str, run: Run, here: Path) -> None:
    code, _, err = run(*RUN, option)
    assert code == Exit.USAGE
    assert re.search(reason, err), err


def test_a_program_s_run_remembers_them_too(deep: Path, here: Path) -> None:
    interrupt(here / "run", "stepped", 1, data=deep)
    state = json.loads(next((here / "run").glob("*/state.json")).read_text())
    assert state["settings"]["preprocess"]["levels"] == [0.0, 4095.0, False]
