"""The line-up of contenders runs in turns, and who trains nothing or is not installed is named and left out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sparsebp.benchmark.candidates import StepRequest
from sparsebp.benchmark.timing import Effort
from sparsebp.cli.errors import Exit

BENCH = Path(__file__).parents[2] / "bench"
sys.path.append(str(BENCH))

import rival_workers  # noqa: E402 - found in the line above
import rivals  # noqa: E402
from rival_lineup import SESSION, line_up  # noqa: E402
from rival_tables import Case, rival_table  # noqa: E402
from rival_workers import Rival, Worker, measure  # noqa: E402

WAYS = """
class Way:
    trained = {"a", "b"}

    def __init__(self, folder, threads, moves=("a", "b"), ends=False):
        self.numbers, self.moves, self.ends = {"a": 0, "b": 0, "frozen": 0}, moves, ends

    def step(self):
        print("noise of a library")
        if self.ends:
            raise SystemExit("out of luck")
        for name in self.moves:
            self.numbers[name] += 1

    def weights(self):
        return [(name, str(number).encode()) for name, number in self.numbers.items()]
"""


@pytest.fixture
def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of ways to train three numbers, which contenders' processes find."""
    (tmp_path / "some_ways.py").write_text(WAYS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def contender(name: str, **given: Any) -> Rival:
    return Rival(name, "numbers", "some_ways:Way", given, sys.executable)


# -- a run ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What a run of the script left behind."""

    out: str
    err: str
    found: dict[str, Any]
    picture: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run of sparsebp and torch."""
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'sparsebp[plot]'")
    folder = tmp_path_factory.mktemp("rivals")
    numbers, picture = folder / "rivals.json", folder / "rivals.png"
    what = ["--size", "32", "--batch", "2", "--only", "sparsebp*", "--only", "torch"]
    how = ["--rounds", "2", "--in-a-row", "3"]
    command = [sys.executable, BENCH / "rivals.py", *what, *how, "--json", numbers, "--plot", picture]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == Exit.OK, done.stderr
    return Run(done.stdout, done.stderr, json.loads(numbers.read_text()), picture)


def test_sparsebp_and_torch_train_what_they_should(run: Run) -> None:
    (case,) = run.found["cases"]
    assert (case["size"], case["batch"], case["threads"], case["rounds"], case["in_a_row"]) == (32, 2, 1, 2, 3)
    assert case["budget"] == 2 * 256 * 1024
    assert case["failures"] == {}
    assert [(r["contender"], r["trains"]) for r in case["results"]] == [
        ("sparsebp Session", "2.0% of the convolutions"),
        ("sparsebp autograd", "2.0% of the convolutions"),
        ("torch", "everything"),
        ("torch", "from features.11 on"),
    ]


def test_numbers_follow_from_each_other(run: Run) -> None:
    results = run.found["cases"][0]["results"]
    session = results[0]
    for r in results:
        for time in (r["wall"], r["cpu"]):
            assert 0 < time["q1"] <= time["median"] <= time["q3"]
        assert r["ratios"]["wall"] == r["wall"]["median"] / session["wall"]["median"]
        assert r["ratios"]["cpu"] == r["cpu"]["median"] / session["cpu"]["median"]
        assert r["ratios"]["peak"] == r["peak"] / session["peak"]
        assert r["contender"] in run.out
        assert f"{r['wall']['median']:.1f} ±" in run.out.replace("+-", "±")
    assert all(2 * session["peak"] < r["peak"] for r in results[1:]), "a session loads no torch"


def test_the_picture(run: Run) -> None:
    from PIL import Image

    with Image.open(run.picture) as image:
        assert image.format == "PNG"
        assert image.width > image.height > 100


# -- turns ----------------------------------------------------------------------------------------


def test_each_round_begins_with_another_contender(ways: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    train = Worker.train

    def noted(self: Worker, _: object) -> None:
        order.append(self.rival.name)
        train(self)

    monkeypatch.setattr(Worker, "train", noted)
    outcomes, failures, rounds = measure([contender(name) for name in "abc"], ways, 1, Effort(3))
    assert (rounds, failures) == (3, {})
    assert [outcome.rival.name for outcome in outcomes] == ["a", "b", "c"]
    turns = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert sorted(turns[-3:]) == ["abc", "bca", "cab"]


# -- who is left out ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"moves": []}, "2 of 2 weights that train did not change, a among them"),
        ({"moves": ["a"]}, "1 of 2 weights that train did not change, b among them"),
        ({"moves": ["a", "b", "frozen"]}, "1 frozen weights changed, frozen among them"),
        ({"moves": ["c"]}, "KeyError: 'c'"),
        ({"ends": True}, "its process ended with 1: out of luck"),
        ({"nonsense": 1}, "TypeError: "),
    ],
)
def test_who_does_not_train_is_caught(given: dict[str, Any], expected: str, ways: Path) -> None:
    outcomes, failures, _ = measure([contender("honest"), contender("idle", **given)], ways, 1, Effort(1))
    assert [outcome.rival.name for outcome in outcomes] == ["honest"]
    assert list(failures) == ["idle, numbers"]
    assert expected in failures["idle, numbers"]


def test_who_is_not_installed_or_idle_is_named(
    ways: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: object
) -> None:
    absent = Rival("absent", "all", "some_ways:Way", {}, sys.executable, ["no_such_module"], "pip install it")
    those = [contender(SESSION), contender("idle", moves=[]), absent]
    monkeypatch.setattr(rivals, "line_up", lambda *_: those)
    monkeypatch.setattr(rivals, "prepare", lambda *_: {})
    with pytest.raises(SystemExit) as done:
        rivals.run(["--size", "32", "--batch", "1", "--rounds", "1"])
    assert done.value.code == Exit.FAILED
    shown = capsys.readouterr()
    assert "absent: left out: ModuleNotFoundError: No module named 'no_such_module'; pip install it" in shown.err
    assert "idle, numbers: FAILED, 32x32, batch 1, 1 thread: 2 of 2 weights" in shown.err
    assert SESSION in shown.out
    assert "idle" not in shown.out
    assert "absent" not in shown.out


def test_without_a_session_there_are_no_ratios(ways: Path) -> None:
    outcomes, failures, rounds = measure([contender(SESSION, moves=[]), contender("honest")], ways, 1, Effort(1))
    case = Case(StepRequest(32, 32), 1, rounds, 1, tuple(outcomes), failures)
    assert [(r["contender"], r["ratios"]) for r in case.to_dict()["results"]] == [("honest", None)]
    assert rival_table(case).row_count == 1


def test_what_every_contender_needs() -> None:
    those = line_up(11, StepRequest(32, 32), "ours", "one that has MNN", "one that has ONNX Runtime")
    assert those[0].name == SESSION
    assert len({rival.title for rival in those}) == len(those)
    assert all(bool(rival.needs) == bool(rival.install) for rival in those)
    assert {r.python for r in those if r.name == "MNN"} == {"one that has MNN"}
    assert {r.python for r in those if r.name == "ONNX Runtime"} == {"one that has ONNX Runtime"}


def test_libraries_of_other_interpreters_see_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert rival_workers.environment(3)["PYTHONPATH"].split(":") == [str(BENCH), "elsewhere"]
    assert rival_workers.environment(3)["OMP_NUM_THREADS"] == "3"


# -- wrong requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--mnn", "/absent/python"], "--mnn: expected a Python interpreter, got '/absent/python'"),
        (["--size", "3"], "--size: expected a whole number of at least 32, got '3'"),
        (["--json", "/absent/a.json"], "--json: there is no folder /absent"),
        (["--plot", "/absent/a.png"], "--plot: there is no folder /absent"),
    ],
)
def test_a_wrong_request_is_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        rivals.run(arguments)
    assert done.value.code == Exit.USAGE
    assert f"sparsebp: error: {expected}" in capsys.readouterr().err
