"""What an evaluation and the end of a run say beside the accuracy: interval, confusion, mistakes, pictures of both."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from PIL import Image
from runs import CLASSES, RUN, Run, assert_ascii, here, run
from sparsebp import data
from sparsebp.cli import confusion_plot, contact_sheet, report
from sparsebp.cli.errors import Exit
from sparsebp.cli.mistakes import Mistake
from sparsebp.finetuning import Confusion, Epoch, History, Kept, Settings
from sparsebp.finetuning.confusion import wilson

__all__ = ["here", "run"]  # fixtures

EVALUATE = ("evaluate", "--weights", "run", "--data", "pictures", "--all", "--workers", "0")


@pytest.fixture
def ended(run: Run, here: Path) -> str:
    """What a run printed; its folder is ``run``."""
    code, out, _ = run(*RUN, "--epochs", "1", "--out", "run")
    assert code == Exit.OK
    return out


@pytest.fixture
def drawing() -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'sparsebp[plot]'")


def taken_for() -> dict[str, str]:
    """What the run's network takes each picture for."""
    model, found = sparsebp.load("run"), {}
    for file in sorted(Path("pictures").rglob("*.png")):
        x = model.preprocess.normalise(torch.from_numpy(np.array(Image.open(file)))[None])
        found[str(file)] = model.classes[int(model(x).argmax())]
    return found


def square(count: int, wrong: list[tuple[int, int, int]]) -> Confusion:
    """Ten pictures a class that are right, and some that are not: (class, taken for, how many)."""
    counts = np.diag([10] * count)
    for label, predicted, times in wrong:
        counts[label, predicted] = times
    return Confusion(tuple(f"class {i}" for i in range(count)), counts)


# -- words and tables ------------------------------------------------------------------------------


def test_evaluate_and_the_end_of_a_run_say_the_same(run: Run, ended: str) -> None:
    code, out, err = run(*(option for option in EVALUATE if option != "--all"))
    assert (code, err) == (Exit.OK, "")
    assert_ascii(out)
    last = [line for line in ended.splitlines() if "95% interval" in line or "say little" in line]
    matrix = re.search(r"^Taken for\n(?:class .*\n)[-+]+\n(?:\w+ +\|.*\n){4}", ended, re.MULTILINE)
    assert len(last) == 2
    assert matrix is not None
    for said in (*last, matrix[0]):
        assert said in out


def test_evaluate_counts_what_each_picture_was_taken_for(run: Run, ended: str) -> None:
    found = json.loads(run(*EVALUATE, "--json")[1])
    expected: dict[str, dict[str, int]] = {name: {} for name in CLASSES}
    for file, predicted in taken_for().items():
        row = expected[Path(file).parent.name]
        row[predicted] = row.get(predicted, 0) + 1
    assert found["confusion"] == expected
    right = [row.get(name, 0) for name, row in expected.items()]
    assert found["accuracy"] == sum(right) / 48
    assert found["balanced"] == pytest.approx(sum(correct / 12 for correct in right) / 4)
    assert found["interval"] == list(wilson(sum(right), 48))


def test_few_pictures_say_little_and_many_do_not_say_so() -> None:
    few, many = square(2, [(0, 1, 3)]), Confusion(("a", "b"), np.array([[4000, 1000], [900, 4100]]))
    assert report.accuracy_lines(few) == [
        "95% interval 67.87% to 95.46%, balanced accuracy 88.46%",
        "23 pictures say little: between two runs a difference of less than 28 points may be chance",
    ]
    assert len(report.accuracy_lines(many)) == 1


def rows(table: Any) -> list[list[str]]:
    """A table's cells, with the headings first."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_few_classes_have_a_matrix() -> None:
    table = report.confusion_table(square(3, [(0, 2, 4), (1, 0, 2)]))
    assert rows(table) == [
        ["class", "class 0", "class 1", "class 2"],
        ["class 0", "10", ".", "4"],
        ["class 1", "2", "10", "."],
        ["class 2", ".", ".", "10"],
    ]


def test_in_a_narrow_terminal_numbers_stand_for_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.out, "size", report.out.size._replace(width=40))
    assert rows(report.confusion_table(square(5, [(0, 2, 4)])))[:2] == [
        ["class", "1", "2", "3", "4", "5"],
        ["1 class 0", "10", ".", "4", ".", "."],
    ]


def test_many_classes_have_their_most_frequent_mistakes() -> None:
    wrong = [(i, i + 1, i % 7 + 1) for i in range(20)]
    table = report.confusion_table(square(30, wrong))
    assert table.title == "The 10 most frequent mistakes"  # type: ignore[union-attr]
    found = rows(table)
    assert found[1] == ["class 6", "class 7", "7", "17"]
    assert [int(row[2]) for row in found[1:]] == sorted((w[2] for w in wrong), reverse=True)[:10]


def test_without_a_mistake_there_is_no_table_of_them() -> None:
    assert report.confusion_table(square(3, [])) is None


def test_an_epoch_is_named_as_better_only_where_it_was() -> None:
    epochs = [Epoch(number, 0.0, accuracy, 0.0, 0.0, 1.0) for number, accuracy in ((1, 0.5), (2, 0.6), (3, 0.4))]
    ends = [History(epochs, kept=Kept([1, 2], accuracy, 0.0, 0.0)) for accuracy in (0.5, 0.6, 0.7)]
    better = " (best 60.00%, epoch 2)"
    assert [report.better(history, Settings()) for history in (History(epochs), *ends)] == [better, better, "", ""]


def test_where_classes_are_balanced_the_mean_of_theirs_counts_and_is_named() -> None:
    """Not the accuracy, which is highest where everything is taken for the largest class."""
    judged = ((1, 0.9, 0.5), (2, 0.8, 0.75), (3, 0.85, 0.7))
    history = History([Epoch(number, 0, accuracy, 0, 0, 1, balanced=mean) for number, accuracy, mean in judged])
    for balance in ("loss", "sampling"):
        found = report.better(history, Settings(balance=balance))
        assert found == " (best balanced accuracy 75.00%, epoch 2)"
    assert report.better(history, Settings()) == " (best 90.00%, epoch 1)"


# -- the surest mistakes ---------------------------------------------------------------------------


def test_the_surest_mistakes_are_listed_and_drawn(run: Run, ended: str, here: Path) -> None:
    found = json.loads(run(*EVALUATE, "--worst", "7", "--json")[1])["worst"]
    predicted = {name: taken for name, taken in taken_for().items() if Path(name).parent.name != taken}
    assert len(found) == min(7, len(predicted)) > 2
    shares = [one["probability"] for one in found]
    assert shares == sorted(shares, reverse=True)
    for one in found:
        name = str(Path(one["picture"]).relative_to(here))
        assert (one["class"], one["predicted"]) == (Path(name).parent.name, predicted[name])
    with Image.open("run/worst.png") as sheet:
        across = min(5, len(found))
        assert sheet.width == across * 208 + 8
    code, out, _ = run(*EVALUATE, "--worst", "2", "--worst-sheet", "sheet.jpg")
    assert code == Exit.OK
    assert "contact sheet: sheet.jpg" in out
    for one in found[:2]:
        picture = Path(one["picture"]).relative_to(here)
        row = rf"^{picture} +\| {one['class']} +\| {one['predicted']} +\| +{one['probability']:.1%}"
        assert re.search(row, out, re.MULTILINE)
    with Image.open("sheet.jpg") as sheet:
        assert sheet.format == "JPEG"


def test_of_a_run_that_goes_on_the_sheet_lies_beside_its_checkpoints_which_come_and_go(run: Run, ended: str) -> None:
    Path("run/model.safetensors").unlink()
    assert "contact sheet: run/worst.png" in run(*EVALUATE, "--worst", "2")[1]


def test_a_contact_sheet_shows_the_pictures_themselves(run: Run, ended: str) -> None:
    (worst,) = json.loads(run(*EVALUATE, "--worst", "1", "--worst-sheet", "sheet.png", "--json")[1])["worst"]
    with Image.open("sheet.png") as sheet, Image.open(worst["picture"]) as picture:
        shown = sheet.crop((8, 8 + 200 - 12 * 16, 8 + 12 * 16, 8 + 200))  # each pixel as a square of 12
        assert np.array_equal(np.asarray(shown)[::12, ::12], np.asarray(picture))
        assert len(np.unique(np.asarray(shown).reshape(16, 12, 16, 12, 3).std((1, 3)))) == 1


def test_names_beyond_ascii_are_drawn_where_the_machine_has_letters_for_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, whose letters these are if the system has none, is not there")
    source = data.Arrays(np.zeros((2, 9, 9, 3), np.uint8), [0, 0])
    drawn = []
    for name in ("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", "gr\N{LATIN SMALL LETTER O WITH DIAERESIS}n"):
        contact_sheet.write_sheet([Mistake(0, "", name, name, 0.5)], source, tmp_path / "sheet.png")
        drawn.append((tmp_path / "sheet.png").read_bytes())
    assert drawn[0] != drawn[1], "two names look the same: as boxes"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--worst-sheet a.png", "--worst-sheet: it needs --worst"),
        ("--worst 3 --worst-sheet a.txt", "--worst-sheet: expected a file name that ends in .*png"),
        ("--worst 3 --worst-sheet nowhere/a.png", "--worst-sheet: there is no folder nowhere"),
        ("--worst -1", "--worst"),
    ],
)
def test_a_sheet_that_cannot_be_written_is_refused_before_testing(
    options: str, reason: str, run: Run, here: Path
) -> None:
    code, out, err = run("evaluate", "--weights", "weights.pt", "--data", "pictures", *options.split())
    assert (code, out) == (Exit.USAGE, "")
    assert re.search(reason, err)


# -- the confusion matrix as a picture -------------------------------------------------------------


def texts(file: Path) -> list[str]:
    """What is written in an SVG, which draws letters as shapes and keeps the words as comments."""
    return re.findall(r"<!-- (.*?) -->", file.read_text())


@pytest.mark.usefixtures("drawing")
def test_a_plot_has_every_class_and_number(tmp_path: Path) -> None:
    confusion_plot.plot_confusion(square(3, [(0, 2, 4)]), tmp_path / "a.svg", "weights on data")
    written = texts(tmp_path / "a.svg")
    assert [written.count(f"class {i}") for i in range(3)] == [2, 2, 2]
    assert (written.count("10"), written.count("4"), written.count("0")) == (3, 1, 0)
    assert {"is", "taken for", "weights on data"} <= set(written)
    assert any(text.startswith("accuracy 88.2%") and text.endswith("34 pictures") for text in written)


@pytest.mark.usefixtures("drawing")
def test_a_plot_of_many_classes_has_some_of_their_names_and_no_numbers(tmp_path: Path) -> None:
    confusion_plot.plot_confusion(square(200, []), tmp_path / "a.svg")
    written = texts(tmp_path / "a.svg")
    assert 2 * 40 < sum(text.startswith("class ") for text in written) <= 2 * 60
    assert "10" not in written


@pytest.mark.usefixtures("drawing")
def test_evaluate_draws_it(run: Run, ended: str) -> None:
    code, out, _ = run(*EVALUATE, "--plot", "confusion.png")
    assert code == Exit.OK
    assert out.splitlines()[-1] == "plot: confusion.png"
    with Image.open("confusion.png") as image:
        assert image.width > 500
    code, _, err = run(*EVALUATE, "--plot", "confusion.docx")
    assert (code, "confusion.docx" in err) == (Exit.USAGE, True)
