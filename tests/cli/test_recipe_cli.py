"""``sparsebp finetune`` without options: what it chooses, what it says of that, and that a resumed run keeps it."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest
from runs import RUN, Run, assert_same_run, here, run, signalled, write_pictures
from sparsebp.cli.errors import Exit
from sparsebp.finetuning import Interrupted, checkpoint
from sparsebp.finetuning.recipe import CHOSEN
from sparsebp.finetuning.run import Run as Training

__all__ = ["here", "run"]  # fixtures

PLAIN = ["finetune", "--data", "pictures", "--weights", "weights.pt", "--model", "tiny:tiny", "--budget", "256KB"]
PLAIN += ["--max-update-ratio", "1", "--threads", "1", "--workers", "0", "--no-dense-audit"]


def test_what_is_chosen_is_said_and_why(run: Run, here: Path) -> None:
    code, out, _ = run(*PLAIN, "--epochs", "1", "--out", "run")
    assert code == Exit.OK
    block = re.search(r"^settings, chosen where they are not given:\n((?:  .*\n)+)", out, re.MULTILINE)
    assert block is not None
    said = dict(re.findall(r"^  (\S+) +(.*)$", block[1], re.MULTILINE))
    assert list(said) == [name.replace("_", "-") for name in CHOSEN]
    assert said["epochs"] == "1: given"
    assert said["input-size"] == "128: pictures of about 16 pixels"
    assert said["balance"] == "none: classes of similar sizes"
    assert "warning" not in out
    assert re.search(r"input +128x128, crop", out)


def test_a_class_of_few_pictures_is_warned_of_and_balanced(run: Run, here: Path) -> None:
    for file in sorted((here / "pictures" / "red").iterdir())[3:]:
        file.unlink()
    code, out, _ = run(*RUN, "--epochs", "1", "--out", "run")
    assert code == Exit.OK
    assert re.search(r"warning +fewer than 10 training pictures of a class teach little of it: red 2\n", out)
    assert re.search(r"balance +loss: classes of 2 to 10 pictures are to be found alike\n", out)


def test_nothing_is_chosen_where_that_is_not_wanted(run: Run, here: Path) -> None:
    code, out, _ = run(*RUN, "--no-recipe", "--out", "run")
    assert code == Exit.OK
    assert "settings, chosen" not in out
    newest = checkpoint.latest(here / "run")
    assert newest is not None
    settings = checkpoint.read(newest).facts["settings"]
    assert (settings["epochs"], settings["augment"], settings["skip_above"], settings["balance"]) == (
        2,
        [],
        1.0,
        "none",
    )


def test_a_resumed_run_keeps_what_was_chosen_though_pictures_came(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsebp.finetuning.recipe._SHOWN", 120)  # three epochs of 40 pictures
    assert run(*RUN, "--out", "whole")[0] == Exit.OK
    with monkeypatch.context() as patch:
        patch.setattr("sparsebp.cli.finetune.RunProgress", lambda images: Stopping())
        assert run(*RUN, "--out", "run")[0] == Exit.INTERRUPTED
    shutil.copytree("run", "grown")
    assert run("finetune", "--resume", "--out", "run")[0] == Exit.OK
    assert_same_run(here / "run", here / "whole")
    write_pictures(here / "more", 40, seed=1)
    for file in (here / "more").glob("*/*.png"):
        shutil.copy(file, here / "pictures" / file.parent.name / f"new-{file.name}")
    code, out, _ = run("finetune", "--resume", "--out", "grown")
    assert code == Exit.OK
    assert len(re.findall(r"^epoch \d+: test accuracy", out, re.MULTILINE)) == 3


class Stopping:
    """Instead of the progress bar: asks for an end after two steps."""

    seconds = 0.0

    def __enter__(self) -> object:
        return signalled("stepped", 2, signal.SIGINT)

    def __exit__(self, *error: object) -> None: ...


def test_keep_patience_and_average_are_said(run: Run, here: Path) -> None:
    still = ["--lr", "0", "--bias-lr", "0", "--classifier-lr", "0", "--epochs", "9"]
    code, out, _ = run(*RUN, *still, "--keep", "best", "--patience", "2", "--average", "2", "--out", "run")
    assert code == Exit.OK
    assert "training ends early (--patience)" in out
    assert re.search(r"^kept: the mean of epochs 2 to 3, test accuracy \d+\.\d\d%", out, re.MULTILINE)


def test_where_classes_are_balanced_epochs_go_by_the_mean_of_theirs_and_say_so(run: Run, here: Path) -> None:
    still = ["--lr", "0", "--bias-lr", "0", "--classifier-lr", "0", "--epochs", "9", "--no-dense-audit"]
    code, out, _ = run(*RUN, *still, "--balance", "loss", "--keep", "best", "--patience", "1", "--out", "run")
    assert code == Exit.OK
    accuracy = r"test accuracy \d+\.\d\d%, balanced accuracy \d+\.\d\d%, test loss"
    assert re.search(rf"^epoch 1: {accuracy}", out, re.MULTILINE)
    assert "no better, by balanced accuracy, than one before: training ends early (--patience)" in out
    assert re.search(rf"^kept: epoch 2, {accuracy}", out, re.MULTILINE)


def test_cifar_10_alone_is_the_run_of_the_headline(
    run: Run, tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin with the same checkpoint: weights, plan, settings and the state of everything that draws at random."""

    def begin_alone(training: Training) -> None:
        training.save()
        raise Interrupted(signal.SIGINT, None)

    monkeypatch.setattr(Training, "train", begin_alone)
    alone = ["finetune", "--data", str(data_root), "--weights", str(data_root / "mobilenet_v2_imagenet.pt")]
    alone += ["--cache", "none", "--no-dense-audit", "--workers", "0"]
    long = "--input-size 129 --budget 256KB --max-update-ratio 1 --saved-bits 8 --epochs 16 --schedule constant"
    rates = "--skip-above 0.9 --rest 1 --lr 3e-5 --bias-lr 0.001 --classifier-lr 0.0005 --average 10"
    long += " --augment flip,slide,erase"
    for out, options in (("alone", []), ("long", [*long.split(), *rates.split(), "--no-recipe"])):
        assert run(*alone, *options, "--out", str(tmp_path / out))[0] == Exit.INTERRUPTED
    ends = [checkpoint.read(tmp_path / out / "checkpoint-000001") for out in ("alone", "long")]
    assert ends[0].facts["settings"] == ends[1].facts["settings"]
    for name in ("plan", "data", "position", "optimizer", "counters"):
        assert ends[0].facts[name] == ends[1].facts[name], name
    for parts in ((end.weights for end in ends), (end.training for end in ends)):
        one, other = parts
        assert one.keys() == other.keys()
        assert all(one[name].equal(other[name]) for name in one)
