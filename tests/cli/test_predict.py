"""``sparsebp predict``: which pictures it looks at, what it says of them, and of those that cannot be read."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from PIL import Image
from runs import CLASSES, RUN, Run, assert_ascii, here, pixels, run
from sparsebp.cli.errors import Exit

__all__ = ["here", "run"]  # fixtures

PREDICT = ("predict", "--weights", "run", "--workers", "0")


@pytest.fixture
def trained(run: Run, here: Path) -> Path:
    """A folder with a run in it, of pictures and a network that are there too."""
    assert run(*RUN, "--epochs", "2", "--out", "run")[0] == Exit.OK
    return here


def by_hand(file: Path) -> np.ndarray:
    """The probabilities of the classes of a picture of 16 x 16."""
    image = np.asarray(Image.open(file), np.float64)
    x = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        logits = sparsebp.load("run")(torch.from_numpy(x.transpose(2, 0, 1)).float()[None])[0].double().numpy()
    powers: np.ndarray = np.exp(logits)
    return powers / powers.sum()


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


# -- what it says ----------------------------------------------------------------------------------


def test_a_picture_has_its_likeliest_classes_in_a_line(run: Run, trained: Path) -> None:
    code, out, err = run(*PREDICT, "pictures/red/00.png")
    assert (code, err) == (Exit.OK, "")
    assert_ascii(out)
    name, _, said = out.strip().partition(": ")
    assert name == "pictures/red/00.png"
    shares = by_hand(trained / name)
    expected = [f"{CLASSES[i]} {shares[i]:.1%}" for i in np.argsort(-shares)]
    assert said.split(", ") == expected[:3]


@pytest.mark.parametrize(("top", "count"), [("1", 1), ("2", 2), ("9", 4)])
def test_as_many_classes_as_are_asked_for_and_there_are(top: str, count: int, run: Run, trained: Path) -> None:
    assert run(*PREDICT, "--top", top, "pictures/red/00.png")[1].count("%") == count
    (found,) = objects(run(*PREDICT, "--json", "--top", top, "pictures/red/00.png")[1])
    assert len(found["probabilities"]) == count


def test_the_file_of_an_object_opens_the_picture(run: Run, trained: Path) -> None:
    odd = os.fsdecode(b"a \xff\nb.png")  # a name need be neither text nor a line
    (trained / odd).write_bytes((trained / "pictures/red/00.png").read_bytes())
    (found,) = objects(run(*PREDICT, "--json", odd)[1])
    assert Path(found["file"]).read_bytes() == (trained / odd).read_bytes()


def test_json_is_an_object_a_line_with_every_class(run: Run, trained: Path) -> None:
    code, out, err = run(*PREDICT, "--json", "pictures/red", "--batch-size", "5")
    assert (code, err) == (Exit.OK, "")
    found = objects(out)
    assert [one["file"] for one in found] == [f"pictures/red/{i:02d}.png" for i in range(12)]
    for one in found:
        shares = by_hand(trained / one["file"])
        assert one["class"] == CLASSES[int(shares.argmax())]
        assert one["probability"] == max(one["probabilities"].values())
        assert list(one["probabilities"]) == [CLASSES[i] for i in np.argsort(-shares)]
        assert [one["probabilities"][name] for name in CLASSES] == pytest.approx(shares, abs=1e-5)


def test_it_agrees_with_evaluate(run: Run, trained: Path) -> None:
    command = ["evaluate", "--weights", "run", "--data", "pictures", "--all", "--workers", "0", "--json"]
    evaluated = json.loads(run(*command)[1])
    found = objects(run(*PREDICT, "--json", "pictures")[1])
    right = sum(Path(one["file"]).parent.name == one["class"] for one in found)
    assert right / len(found) == evaluated["accuracy"]


def test_weights_are_a_run_a_file_or_a_plan_file(run: Run, trained: Path) -> None:
    assert run("export", "run", "--out", "plan.safetensors")[0] == Exit.OK
    said = {
        run("predict", "--weights", w, "pictures/red")[1] for w in ("run", "run/model.safetensors", "plan.safetensors")
    }
    assert len(said) == 1


def test_a_model_can_be_named(run: Run, trained: Path) -> None:
    assert run(*PREDICT, "--model", "tiny:tiny", "pictures/red") == run(*PREDICT, "pictures/red")
    code, _, err = run(*PREDICT, "--model", "mobilenet_v2", "pictures/red")
    assert (code, "belong to another model" in err) == (Exit.USAGE, True)


# -- which pictures --------------------------------------------------------------------------------


def test_folders_are_read_with_what_is_below_them_sorted_and_without_what_is_no_picture(
    run: Run, trained: Path
) -> None:
    found = trained / "found"
    for name in ("b/2.png", "b/10.png", "a.png", "c/d/e.PNG", ".hidden/x.png", ".x.png"):
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(0, np.random.default_rng(0))).save(found / name)
    (found / "notes.txt").write_text("of these pictures")
    code, out, err = run(*PREDICT, "pictures/red/03.png", "found")
    assert (code, err) == (Exit.OK, "")
    names = [line.partition(":")[0] for line in out.splitlines()]
    assert names == ["pictures/red/03.png", *(f"found/{n}" for n in ("a.png", "b/10.png", "b/2.png", "c/d/e.PNG"))]


def test_a_list_on_standard_input(run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.rename("pictures/blue/01.png", b"pictures/blue/\xff.png")
    listed = b"pictures/red/00.png\r\n\npictures/blue/\xff.png\npictures/grey"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    code, out, err = run(*PREDICT, "pictures/green/05.png", "-")
    assert (code, err) == (Exit.OK, "")
    names = [line.partition(":")[0] for line in out.splitlines()]
    expected = ["pictures/green/05.png", "pictures/red/00.png", r"pictures/blue/\xff.png"]
    assert names == [*expected, *(f"pictures/grey/{i:02d}.png" for i in range(12))]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_pictures_that_cannot_be_read_are_named_and_left_out(workers: str, run: Run, trained: Path) -> None:
    (trained / "text.png").write_text("no picture")
    given = ["pictures/red/00.png", "text.png", "nowhere.png", "pictures/red/01.png"]
    code, out, err = run(*PREDICT, "--workers", workers, "--batch-size", "2", *given)
    assert code == Exit.FAILED
    assert [line.partition(":")[0] for line in out.splitlines()] == [given[0], given[3]]
    assert re.search(r"^skipped: text\.png: not a picture", err, re.MULTILINE)
    assert re.search(r"^skipped: nowhere\.png: there is no such file", err, re.MULTILINE)
    assert err.splitlines()[-1] == "2 of 4 pictures could not be read"


def test_pictures_become_input_as_they_did_in_training(run: Run, here: Path) -> None:
    """At 12 x 10 pixels of odd range and mean, padded, by another filter."""
    odd = ["--range", "0,2", "--mean", "0.1,0.2,0.3", "--std", "0.5,0.6,0.7", "--resize", "pad", "--filter", "bicubic"]
    assert run(*RUN, *odd, "--input-size", "24x20", "--epochs", "1", "--out", "run")[0] == Exit.OK
    chance = np.random.default_rng(0)
    Image.fromarray(pixels(1, chance, 40, 50)).save("wide.png")
    (found,) = objects(run(*PREDICT, "--json", "wide.png")[1])
    shown = np.full((24, 20, 3), [13, 26, 38], np.float64)  # the mean's grey, below and above
    shown[4:20] = np.asarray(Image.open("wide.png").resize((20, 16), Image.Resampling.BICUBIC))
    x = (shown / 255 * 2 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    with torch.no_grad():
        expected = sparsebp.load("run")(torch.from_numpy(x.transpose(2, 0, 1)).float()[None]).softmax(1)[0]
    assert [found["probabilities"][name] for name in CLASSES] == pytest.approx(expected.tolist(), abs=1e-5)


# -- what cannot be done ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["pictures"], "--weights is missing"),
        (["--weights", "run"], "PICTURES is missing"),
        (["--weights", "nowhere", "pictures"], "--weights: no such file: nowhere"),
        (
            ["--weights", "pictures", "pictures"],
            "--weights: expected a file, or the folder of a run; pictures holds",
        ),
        (["--weights", "weights.pt", "pictures"], "--weights: weights.pt does not say the names of its classes"),
        (["--weights", "run", "empty"], "PICTURES: there is no picture in empty"),
        (["--weights", "run", "--top", "0", "pictures"], "--top: expected a whole number of at least 1, got '0'"),
    ],
)
def test_a_wrong_request_is_a_line_and_an_exit_code(arguments: list[str], reason: str, run: Run, trained: Path) -> None:
    (trained / "empty").mkdir()
    code, out, err = run("predict", *arguments)
    assert (code, out) == (Exit.USAGE, "")
    assert err.startswith(f"sparsebp: error: {reason}")
