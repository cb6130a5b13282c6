"""``sparsebp export``, and what the other commands make of a plan file."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from networks import tiny_mobilenet
from PIL import Image
from runs import CLASSES, RUN, SETTINGS, Run, assert_ascii, here, interrupt, network, pictures, run
from sparsebp.cli.errors import Exit
from sparsebp.cli.pretrained import load
from sparsebp.data import Preprocess
from sparsebp.finetuning import Settings, checkpoint
from sparsebp.finetuning.export_run import export_run
from sparsebp.finetuning.run import engine_state
from sparsebp.networks.pretrained import read_weights
from sparsebp.runtime import Session
from sparsebp.training.schedule import rate_factor
from torch.nn.functional import cross_entropy

__all__ = ["here", "run"]  # fixtures

_SMALL = "--model tiny:tiny --input-size 16 --budget 16KB --max-update-ratio 1"
EXPORT = ["export", "--weights", "weights.pt", *_SMALL.split()]
RATES = ["--no-normalise", "--lr", "0.1", "--bias-lr", "0.1", "--classifier-lr", "0.05"]
OUT = ["--out", "plan.safetensors"]


def train(file: str, steps: int) -> Session:
    """Trains a plan file in a session, on tinted noise."""
    session = Session(file)
    for step in range(steps):
        train_on(session, step)
    return session


def train_on(session: Session, seed: int) -> None:
    source = pictures(8, seed)
    session.train(source.images, source.labels)


# -- of a network ------------------------------------------------------------------------------------


def test_a_plan_file_is_written_trained_and_tested(run: Run, here: Path) -> None:
    code, out, err = run(*EXPORT, "--data", "pictures", *RATES, "--batch-size", "8", *OUT)
    assert (code, err) == (Exit.OK, "")
    assert_ascii(out)
    assert re.search(r"model +tiny:tiny, weights\.pt\n", out)
    assert re.search(r"classifier +classifier\.1 starts afresh", out)
    assert re.search(r"classes +4: blue, green, grey, red\n", out)
    arena = re.search(r"arena +([\d,]+) of 16,384 bytes\n", out)
    size = re.search(r"file +plan\.safetensors: ([\d,]+) bytes\n", out)
    session = Session("plan.safetensors")
    assert arena is not None
    assert size is not None
    assert int(arena[1].replace(",", "")) == session.sizes.arena_bytes
    assert int(size[1].replace(",", "")) == Path("plan.safetensors").stat().st_size

    def accuracy(file: str) -> dict[str, Any]:
        code, out, _ = run("evaluate", "--weights", file, "--data", "pictures", "--all", "--workers", "0", "--json")
        assert code == Exit.OK
        return json.loads(out)

    session = train("plan.safetensors", 100)
    session.save("trained.safetensors")
    before, after = accuracy("plan.safetensors"), accuracy("trained.safetensors")
    assert after["accuracy"] > max(0.9, before["accuracy"])
    images = np.stack([np.asarray(p) for p in _pictures()])
    labels = np.repeat(np.arange(4), 12)
    found = session.evaluate(images, labels)
    assert found.correct == round(48 * after["accuracy"])
    assert found.loss == pytest.approx(after["loss"], rel=1e-4)


def _pictures() -> list[Any]:
    return [Image.open(file) for name in CLASSES for file in sorted(Path("pictures", name).iterdir())]


def test_the_file_is_what_the_library_exports(run: Run, here: Path) -> None:
    how = [
        "--classes",
        "a,b,c",
        "--epochs",
        "3",
        "--examples",
        "40",
        "--lr",
        "0.01",
        "--momentum",
        "0.5",
        "--seed",
        "2",
    ]
    code, out, _ = run(*EXPORT, *how, "--no-normalise", "--label-smoothing", "0.1", "--json", *OUT)
    assert code == Exit.OK
    told = json.loads(out)
    assert told["classes"] == 3
    assert told["names"] == ["a", "b", "c"]
    assert told["file_bytes"] == Path("plan.safetensors").stat().st_size
    net = load("tiny:tiny", Path("weights.pt"), ["a", "b", "c"], seed=2).model
    model = sparsebp.convert(net, "16KB", input_size=(3, 16, 16), max_update_ratio=1.0, momentum=True, seed=2)
    preprocess = sparsebp.data.Preprocess((16, 16))
    rules = {"lr": 0.01, "momentum": 0.5, "label_smoothing": 0.1, "epochs": 3, "examples": 40}
    origin = {"model": "tiny:tiny"}
    sparsebp.export(model, "library", classes=["a", "b", "c"], preprocess=preprocess, origin=origin, **rules)
    assert Path("library").read_bytes() == Path("plan.safetensors").read_bytes()


def test_a_plan_that_was_saved_is_used_as_it_is(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["--model", "tiny:tiny", "--input-size", "16", "--budget", "16KB", "--max-update-ratio", "1"]
    assert run("plan", *sizes, "--classes", "4", "--save", "plan.json")[0] == Exit.OK
    plan = sparsebp.Plan.load("plan.json")

    def refuse(*_: Any) -> Any:
        raise AssertionError("planned again")

    monkeypatch.setattr("sparsebp.planning.planner.Planner.best", refuse)
    by_plan = ["export", "--model", "tiny:tiny", "--weights", "weights.pt", "--plan", "plan.json"]
    assert run(*by_plan, "--data", "pictures", *OUT)[0] == Exit.OK
    assert Session("plan.safetensors").sizes.arena_bytes == plan.peak_bytes
    rates = ["--data", "pictures", "--lr", "0.001", "--epochs", "1", "--workers", "0", "--batch-size", "8"]
    code, out, _ = run("finetune", *by_plan[1:], *rates, "--out", "run")
    assert code == Exit.OK
    assert f"{plan.peak_bytes:,}" in out
    code, _, err = run(*by_plan, "--data", "pictures", "--budget", "17KB", *OUT)
    assert (code, err) == (
        Exit.USAGE,
        "sparsebp: error: --budget: 17408 was given, but the plan was made with 16384; leave it out, or plan anew\n",
    )
    code, _, err = run(*by_plan, "--classes", "5", *OUT)
    assert code == Exit.USAGE
    assert re.search(r"error: --plan: it was made for another network, .*: layer classifier\.1: output was 4x1x1", err)


def test_a_run_begins_with_the_weights_of_a_plan_file(run: Run, here: Path) -> None:
    assert run(*EXPORT, "--data", "pictures", *OUT)[0] == Exit.OK
    code, out, _ = run(*RUN, "--weights", "plan.safetensors", "--epochs", "1", "--out", "run")
    assert code == Exit.OK
    assert re.search(r"classifier +classifier\.1 goes on by name", out)


def test_a_file_with_spare_classes_learns_one_and_goes_back_to_the_pc(run: Run, here: Path) -> None:
    told = [*EXPORT, "--classes", "blue,green,grey", "--spare-classes", "2", *RATES, "--batch-size", "8", *OUT]
    code, out, err = run(*told)
    assert (code, err) == (Exit.OK, "")
    assert re.search(r"classes +3: blue, green, grey, and 2 spare\n", out)
    session = Session("plan.safetensors")
    assert session.add_class("red") == 3
    for step in range(60):
        train_on(session, step)
    session.save("trained.safetensors")
    code, out, _ = run("evaluate", "--weights", "trained.safetensors", "--data", "pictures", "--all", "--workers", "0")
    assert code == Exit.OK
    assert re.search(r"red", out)
    classes = [*CLASSES[::-1], "new"]
    fresh = load("tiny:tiny", Path("trained.safetensors"), classes)
    assert "4 kept (red, grey, green and 1 more), 1 new (new)" in fresh.loaded.classifier
    words = ["trained.safetensors" if word == "weights.pt" else word for word in RUN]
    assert run(*words, "--epochs", "1", "--out", "run")[0] == Exit.OK
    # Exported again there are other outputs to spare.
    again = ["export", "--weights", "trained.safetensors", *_SMALL.split(), "--spare-classes", "3", "--lr", "0.1", *OUT]
    assert run(*again)[0] == Exit.OK
    sizes = Session("plan.safetensors").sizes
    assert (sizes.classes, sizes.outputs) == (4, 7)


# -- of a run ----------------------------------------------------------------------------------------


def test_a_finished_run_goes_on_at_constant_rates(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    code, out, err = run("export", "run", *OUT)
    assert (code, err) == (Exit.OK, "")
    assert_ascii(out)
    assert re.search(r"run +run: finished of 1 epochs\n", out)
    own = read_weights("run/model.safetensors")
    found = read_weights("plan.safetensors")
    assert all(torch.equal(found.tensors[name], value) for name, value in own.tensors.items())
    about = {key: value for key, value in own.metadata.items() if key != "accuracy"}
    assert found.metadata == about  # classes, preprocessing, model, what was held out and what was learned
    session = Session("plan.safetensors")
    assert session.progress.steps > 0
    before = session.predict(pictures(4, 0).images)
    train_on(session, 3)
    assert not np.array_equal(session.predict(pictures(4, 0).images), before)
    code, tested, _ = run("evaluate", "--weights", "plan.safetensors", "--data", "pictures", "--workers", "0")
    assert code == Exit.OK
    assert re.search(r"tested +8 of 48 pictures, which are held out", tested)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """The autograd loop is the oracle: the run's next steps, with its channels, dropout and schedule."""
    changes = {"resample_every": 2, "dropout": 0.3, "schedule": "linear", "warmup": 0.5}
    interrupt(tmp_path / "run", "stepped", 2, **changes)
    position = export_run(tmp_path / "run", tmp_path / "plan", model=network())
    session, end = Session(tmp_path / "plan"), position.epochs * position.steps_per_epoch
    assert (position.step, session.progress.batches, session.progress.steps) == (2, 2, 2)

    latest = checkpoint.latest(tmp_path / "run")
    assert latest is not None
    found = checkpoint.read(latest)
    net = tiny_mobilenet(classes=len(CLASSES), dropout=0.3)
    model = sparsebp.convert(net, plan=sparsebp.Plan.from_dict(found.facts["plan"])).train()
    model.load_state_dict(found.weights)
    model.engine.load_state(engine_state(found))
    settings = Settings(**SETTINGS | changes)
    opt = sparsebp.optim.SGD(settings.groups(model), lr=1.0)
    rates = [group["lr"] for group in opt.param_groups]
    preprocess = Preprocess.from_dict(found.facts["settings"]["preprocess"])
    for step in range(2, end):
        source = pictures(8, step)
        for group, full in zip(opt.param_groups, rates, strict=True):
            group["lr"] = full * rate_factor("linear", (step + 0.5) / end, 0.5)
        x, y = preprocess.normalise(torch.from_numpy(source.images)), torch.from_numpy(source.labels)
        loss = sparsebp.fit_step(model, opt, x, y, lambda output, labels: cross_entropy(output.double(), labels))
        assert session.train(source.images, source.labels).loss == pytest.approx(loss, rel=1e-12)
    session.save(tmp_path / "after")
    after, own = sparsebp.load_file(tmp_path / "after"), model.state_dict()
    assert [name for name in own if not torch.equal(after[name], own[name])] == []


def test_rules_may_be_chosen_anew_for_a_run(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    anew = ["--lr", "0.5", "--epochs", "2", "--examples", "16", "--batch-size", "4"]
    assert run("export", "run", *anew, *OUT)[0] == Exit.OK
    session = Session("plan.safetensors")
    assert (session.sizes.batch, session.progress.batches) == (4, 0)


# -- refusals ----------------------------------------------------------------------------------------

REFUSED: list[tuple[list[str], str]] = [
    ([*EXPORT, "--classes", "4"], "--out is missing"),
    ([*EXPORT, *OUT], "--classes is missing: how many outputs"),
    ([*EXPORT, "--classes", "a,a", *OUT], "--classes: expected a number, or names with commas between them"),
    ([*EXPORT, "--classes", "4", "--schedule", "foo", *OUT], "--schedule: expected one of cosine, linear, constant"),
    (
        [*EXPORT, "--classes", "4", "--schedule", "linear", *OUT],
        "--schedule linear: it has to know where the run ends; give --epochs",
    ),
    ([*EXPORT, "--classes", "4", "--epochs", "2", *OUT], "--epochs: it wants --examples beside it"),
    ([*EXPORT, "--classes", "4", "--spare-classes", "2", *OUT], "--spare-classes: expected the names of the others"),
    (["export", "run", "--spare-classes", "2", *OUT], "export its weights, --weights run/model.safetensors"),
    ([*EXPORT, "--classes", "4", "--out", "absent/plan"], "--out: there is no folder absent"),
    ([*EXPORT, "--classes", "4", "--plan", "absent.json", *OUT], "absent.json: no such file or directory"),
    ([*EXPORT, "--classes", "4", "--plan", "weights.pt", *OUT], "weights.pt: plan: not valid JSON"),
    (["export", "--classes", "4", *OUT], "--weights is missing: mobilenet_v2 comes without"),
    (["export", "absent", *OUT], "there is no checkpoint of a run in absent"),
    (["export", "pictures", "--budget", "1MB", *OUT], "--budget: a run has its own; leave it out"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=[" ".join(r[0][-5:]) for r in REFUSED])
def test_a_wrong_request_is_a_line_and_writes_nothing(arguments: list[str], words: str, run: Run, here: Path) -> None:
    before = sorted(p.name for p in here.iterdir())
    code, out, err = run(*arguments)
    assert (code, out) == (Exit.USAGE, "")
    assert words in err
    assert err.startswith("sparsebp: error: ")
    assert sorted(p.name for p in here.iterdir() if p.name != "__pycache__") == before


Damage = Callable[[Path], object]
DAMAGES: dict[str, Damage] = {
    "no state": lambda folder: (folder / "state.json").unlink(),
    "a state that was cut off": lambda folder: (folder / "state.json").write_text("{"),
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_run_is_refused(kind: str, run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    latest = checkpoint.latest(Path("run"))
    assert latest is not None
    DAMAGES[kind](latest)
    code, _, err = run("export", "run", *OUT)
    assert code == Exit.USAGE
    assert "run/checkpoint-" in err
    assert not Path("plan.safetensors").exists()
    shutil.rmtree("run")


def test_a_network_that_is_another_than_the_run_s_is_refused(tmp_path: Path) -> None:
    interrupt(tmp_path / "run", "stepped", 2)
    with pytest.raises(ValueError, match="does not say which network it trains; give model"):
        export_run(tmp_path / "run", tmp_path / "plan")
    with pytest.raises(ValueError, match="made for another network"):
        export_run(tmp_path / "run", tmp_path / "plan", model=tiny_mobilenet(classes=5))
    assert not (tmp_path / "plan").exists()
