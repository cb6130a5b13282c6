"""``sparsebp finetune`` and ``sparsebp evaluate``: what they say, what they refuse, and what they exit with."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from networks import biased_network, tiny_mobilenet
from PIL import Image
from runs import CLASSES, RUN, Run, assert_ascii, assert_finished, here, pixels, run, write_pictures
from sparsebp.cli.errors import Exit

__all__ = ["here", "run"]  # fixtures

# -- a run -------------------------------------------------------------------------------------------


def test_a_run_says_what_it_does_and_evaluate_agrees(run: Run, here: Path) -> None:
    code, out, err = run(*RUN, "--epochs", "2", "--out", "run", "--cache", "memory")
    assert (code, err) == (Exit.OK, "")
    assert_ascii(out)
    assert_finished(here / "run")
    assert re.search(r"model +tiny:tiny, weights\.pt\n", out)
    assert re.search(r"data +pictures: a folder per class, 40 training and 8 test pictures, 4 classes\n", out)
    assert re.search(r"classifier +classifier\.1 starts afresh", out)
    assert re.search(r"input +16x16, crop, bilinear, pixels 0 to 1, less 0\.485", out)
    assert re.search(r"cache: .*\([\d,]+ bytes\) in memory for 48 pictures\n", out)
    assert out.index("cache: ") < out.index("epoch 1: ")
    assert re.findall(r"epoch (\d): test accuracy", out) == ["1", "2"]
    peaks = re.findall(r"peak the (?:plan predicted|arena measured) +\| +([\d,]+)", out)
    assert len(peaks) == 2
    assert peaks[0] == peaks[1]
    accuracy = re.search(r"^test accuracy (\d+\.\d\d%)", out, re.MULTILINE)
    assert accuracy is not None
    assert "report:  run/report.json" in out.splitlines()[-1]
    code, tested, _ = run("evaluate", "--weights", "run/model.safetensors", "--data", "pictures", "--workers", "0")
    assert code == Exit.OK
    assert_ascii(tested)
    assert f"accuracy {accuracy[1]}" in tested


def test_evaluate_as_json_is_the_report_s_accuracy(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    command = ["evaluate", "--weights", "run/model.safetensors", "--data", "pictures", "--workers", "0", "--json"]
    code, out, err = run(*command)
    assert (code, err) == (Exit.OK, "")
    found, report = json.loads(out), json.loads((here / "run" / "report.json").read_text())
    assert found["accuracy"] == report["accuracy"]
    assert found["loss"] == pytest.approx(report["history"]["epochs"][-1]["test_loss"], rel=1e-5)
    assert found["pictures"] == 8
    assert sum(c["correct"] for c in found["classes"].values()) == round(8 * found["accuracy"])
    assert list(found["classes"]) == list(CLASSES)


def test_the_weights_load_into_the_original_class(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    model = tiny_mobilenet(1, len(CLASSES))
    model.load_state_dict(safetensors.torch.load_file("run/model.safetensors"))


def test_the_folder_of_a_run_is_weights_to_begin_with(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    code, out, _ = run(*RUN, "--epochs", "1", "--batch-size", "99", "--weights", "run", "--out", "run2")
    assert (code, "tiny:tiny, run/model.safetensors" in out) == (Exit.OK, True)
    assert "1 epoch of 1 step\n" in out
    code, _, err = run(*RUN, "--weights", "pictures")
    assert code == Exit.USAGE
    assert "--weights: expected a file, or the folder of a run; pictures holds no model.safetensors" in err


def test_an_input_size_that_a_plan_was_not_made_for_is_refused(run: Run, here: Path) -> None:
    sizes = ["--model", "tiny:tiny", "--input-size", "16", "--budget", "16KB", "--max-update-ratio", "1"]
    for classes in ("4", "7"):
        assert run("plan", *sizes, "--classes", classes, "--save", f"{classes}.json")[0] == Exit.OK
    code, _, err = run(*RUN, "--plan", "4.json", "--input-size", "32")
    assert code == Exit.USAGE
    assert "--input-size: 32 was given, but the plan was made with 16x16; leave it out, or plan anew" in err
    code, _, err = run(*RUN, "--plan", "7.json")
    assert code == Exit.USAGE
    assert "output was 7x1x1, here it is 4x1x1; plan anew, for as many classes" in err


def test_a_plot_of_the_run(run: Run, here: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, which draws plots, is not installed")
    code, out, _ = run(*RUN, "--epochs", "1", "--out", "run", "--plot", "curves.png")
    assert code == Exit.OK
    assert "curves.png" in out
    with Image.open("curves.png") as image:
        assert image.width > 500


def test_a_plot_that_cannot_be_written_is_refused_before_training(run: Run, here: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, which draws plots, is not installed")
    for file in ("curves.docx", "nowhere/curves.png"):
        code, _, err = run(*RUN, "--out", "run", "--plot", file)
        assert code == Exit.USAGE
        assert Path(file).name in err or "nowhere" in err
    assert not (here / "run").exists()


# -- pictures of all kinds -----------------------------------------------------------------------------


def odd_pictures(folder: Path) -> None:
    """Beside the ordinary ones: every mode and size that people have, and three files that are broken."""
    write_pictures(folder, 6)
    chance = np.random.default_rng(3)
    sizes = [(1, 1), (1, 40), (50, 2), (16, 16), (90, 61), (17, 33)]
    modes = ["RGB", "L", "P", "RGBA", "LA", "1", "I;16", "CMYK"]
    for i, mode in enumerate(modes):
        label, (height, width) = i % len(CLASSES), sizes[i % len(sizes)]
        image = Image.fromarray(pixels(label, chance, height, width))
        image = Image.new("I;16", image.size, 30_000) if mode == "I;16" else image.convert(mode)
        image.save(folder / CLASSES[label] / f"odd-{i}.{'jpg' if mode == 'CMYK' else 'png'}")
    Image.fromarray(pixels(0, chance, 70, 80)).save(folder / CLASSES[0] / "progressive.JPEG", progressive=True)
    whole = (folder / CLASSES[0] / "progressive.JPEG").read_bytes()
    (folder / CLASSES[1] / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / CLASSES[2] / "empty.png").write_bytes(b"")
    (folder / CLASSES[3] / "text.jpeg").write_text("no picture")


BROKEN = {"torn.jpg", "empty.png", "text.jpeg"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_broken_pictures_are_named_and_skipped_and_the_rest_trains(run: Run, here: Path, workers: str) -> None:
    odd_pictures(here / "odd")
    code, out, err = run(*RUN, "--data", "odd", "--out", "run", "--epochs", "2", "--workers", workers)
    assert code == Exit.OK
    told = re.findall(r"^skipped: .*/(\S+): .+$", err, re.MULTILINE)
    assert sorted(told) == sorted(BROKEN)
    assert err.count("\n") == len(BROKEN)
    assert "3 pictures could not be read and were left out" in out
    report = json.loads((here / "run" / "report.json").read_text())
    assert {Path(name).name for name in report["history"]["skipped"]} == BROKEN


def test_strict_fails_and_names_the_picture(run: Run, here: Path) -> None:
    odd_pictures(here / "odd")
    code, _, err = run(*RUN, "--data", "odd", "--out", "run", "--strict")
    assert code == Exit.FAILED
    assert any(name in err for name in BROKEN)
    assert err.startswith("sparsebp: error: ")
    assert err.count("\n") == 1


def test_evaluate_skips_broken_pictures_too(run: Run, here: Path) -> None:
    odd_pictures(here / "odd")
    shutil.copytree("pictures", "split/train")
    shutil.copytree("odd", "split/test")
    common = ["--data", "split", "--workers", "0", "--weights"]
    assert run(*RUN, "--data", "split", "--out", "run", "--epochs", "1")[0] == Exit.OK
    code, out, err = run("evaluate", *common, "run/model.safetensors", "--json")
    assert code == Exit.OK
    assert {Path(name).name for name in json.loads(out)["skipped"]} == BROKEN
    assert err.count("skipped: ") == 3
    code, _, err = run("evaluate", *common, "run/model.safetensors", "--strict")
    assert code == Exit.FAILED


# -- what cannot be done -------------------------------------------------------------------------------


def _weights(state: dict[str, Any]) -> Callable[[Path], None]:
    return lambda here: torch.save(state, here / "weights.pt")


def _other(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    return {**tiny_mobilenet(0).state_dict(), **{k.replace("__", "."): t for k, t in changes.items()}}


def _one_class(here: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(here / "pictures" / name)


def _garbage(here: Path) -> None:
    (here / "weights.pt").write_bytes(b"\x80\x02 this is no file of weights")


def _nothing(here: Path) -> None: ...


DIVERGE = "--lr 1e38 --bias-lr 1e38 --classifier-lr 1e38"
ERRORS: dict[str, tuple[Callable[[Path], None], str, Exit, str]] = {
    "no data": (_nothing, "--data nowhere", Exit.USAGE, "no file or folder nowhere"),
    "no weights": (_nothing, "--weights nowhere.pt", Exit.USAGE, r"no such file: nowhere\.pt"),
    "no model": (_nothing, "--model resnet", Exit.USAGE, "model: expected mobilenet_v2"),
    "one class": (_one_class, "", Exit.USAGE, "at least two classes, pictures has 1: blue"),
    "an empty class": (lambda h: (h / "pictures" / "x").mkdir(), "", Exit.USAGE, "no picture in x"),
    "garbage": (_garbage, "", Exit.USAGE, r"weights\.pt"),
    "empty weights": (lambda h: (h / "weights.pt").write_bytes(b""), "", Exit.USAGE, r"weights\.pt"),
    "another classifier": (
        _weights(_other(classifier__1__weight=torch.zeros(10, 65))), "", Exit.USAGE,
        r"--weights weights\.pt: classifier\.1\.weight has shape \[10, 65\], the model expects \[4, 64\]",
    ),
    "another width": (
        _weights(_other(features__0__0__weight=torch.zeros(32, 3, 3, 3))), "", Exit.USAGE,
        r"features\.0\.0\.weight has shape \[32, 3, 3, 3\].* another width",
    ),
    "another model": (_weights(biased_network().state_dict()), "", Exit.USAGE, "belong to another model: they lack"),
    "small budget": (_nothing, "--budget 100", Exit.BUDGET, r"smallest.* [\d,]{3,}"),
    "divergence": (_nothing, DIVERGE, Exit.FAILED, "training diverged in epoch 1, step .*smaller"),
    "out is a file": (_nothing, "--out weights.pt", Exit.USAGE, r"weights\.pt"),
    "out below a file": (_nothing, "--out weights.pt/run", Exit.USAGE, r"weights\.pt"),
    "cache and augment": (_nothing, "--cache disk --augment crop", Exit.USAGE, "cache: with augment=crop"),
    "no epochs": (_nothing, "--epochs 0", Exit.USAGE, "--epochs"),
    "no rate": (_nothing, "--lr nan", Exit.USAGE, "--lr"),
    "no schedule": (_nothing, "--schedule steps", Exit.USAGE, "--schedule: expected one of cosine"),
    "no such change": (_nothing, "--augment twirl", Exit.USAGE, "augment: expected none, or names"),
    "no such cache": (_nothing, "--cache tape", Exit.USAGE, "--cache: expected one of memory, disk"),
    "no range": (_nothing, "--range 1,0", Exit.USAGE, "--range: expected two ascending numbers"),
    "no mean": (_nothing, "--mean 1,2", Exit.USAGE, "--mean: expected 3 numbers"),
    "no std": (_nothing, "--std 0", Exit.USAGE, "std: expected positive numbers"),
    "no size": (_nothing, "--input-size 0", Exit.USAGE, "--input-size"),
    "no share": (_nothing, "--test-share 2", Exit.USAGE, "test.share"),
    "no probability": (_nothing, "--skip-above 0", Exit.USAGE, "--skip-above: expected a share above 0"),
    "no warm-up": (_nothing, "--warmup 1", Exit.USAGE, "--warmup"),
    "no workers": (_nothing, "--workers -1", Exit.USAGE, "--workers"),
    "no seed": (_nothing, "--seed -1", Exit.USAGE, "--seed"),
    "a batch of less than a micro-batch": (_nothing, "--micro-batch 9", Exit.USAGE, "--micro-batch: .* 8, got 9"),
    "no such option": (_nothing, "--learning-rate 1", Exit.USAGE, "--learning-rate"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_a_line_and_an_exit_code(kind: str, run: Run, here: Path) -> None:
    prepare, options, code, reason = ERRORS[kind]
    prepare(here)
    got, _, err = run(*RUN, *options.split())
    assert got == code, err
    assert re.search(reason, err), err
    assert err.startswith("sparsebp: error: ")
    assert "Traceback" not in err
    assert_ascii(err)


def test_pictures_in_a_folder_called_demo_are_no_demo(run: Run, here: Path) -> None:
    (here / "pictures").rename(here / "demo")
    options = ["demo" if option == "pictures" else option for option in RUN]
    code, out, err = run(*options, "--epochs", "1", "--out", "run")
    assert code == Exit.OK, err
    assert "40 training and 8 test pictures" in out


def test_weights_are_wanted_for_a_known_model_and_data_for_any(run: Run, here: Path) -> None:
    code, _, err = run("finetune", "--data", "pictures")
    assert (code, "--weights is missing" in err) == (Exit.USAGE, True)
    code, _, err = run("finetune", "--weights", "weights.pt")
    assert (code, "--data is missing" in err) == (Exit.USAGE, True)
    code, _, err = run("finetune", "--mean", "0.5")
    assert (code, "need --data" in err) == (Exit.USAGE, True)


EVALUATE: dict[str, tuple[str, str]] = {
    "no weights": ("--data pictures", "--weights is missing"),
    "no data": ("--weights weights.pt", "--data is missing"),
    "other classes": ("--data pictures --weights weights.pt --model tiny:tiny", "tells other classes apart"),
    "missing": ("--data pictures --weights none.pt", r"no such file: none\.pt"),
    "batch": ("--data pictures --weights weights.pt --batch-size 0", "--batch-size"),
}


@pytest.mark.parametrize("kind", EVALUATE)
def test_what_cannot_be_evaluated(kind: str, run: Run, here: Path) -> None:
    options, reason = EVALUATE[kind]
    code, out, err = run("evaluate", *options.split())
    assert (code, out) == (Exit.USAGE, "")
    assert re.search(reason, err), err


def test_evaluate_refuses_classes_of_other_names(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    (here / "pictures" / "red").rename(here / "pictures" / "scarlet")
    code, _, err = run("evaluate", "--weights", "run/model.safetensors", "--data", "pictures", "--workers", "0")
    assert code == Exit.USAGE
    assert "the weights were not trained on scarlet, which pictures has; they tell blue, green, grey, red apart" in err
