"""Experiments run apart from each other, go on where they were, and add up to tables and pictures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sparsebp
import torch
from sparsebp.cli.errors import Exit

BENCH = Path(__file__).parents[2] / "bench"
sys.path.append(str(BENCH))  # behind the tests' helpers, which have a module of the same name

import accuracy  # noqa: E402 - found in the line above
import experiment_pictures  # noqa: E402
import experiment_runs as runs  # noqa: E402
import experiment_tables  # noqa: E402
import experiments  # noqa: E402
from experiments import Experiment  # noqa: E402

SIDE = 32
TINY = Experiment(
    "headline/default",
    "a test",
    # The network is untrained: the usual learning rate makes it diverge, and runs end then.
    {"budget": "32KB", "max_update_ratio": 0.02, "input_size": SIDE, "epochs": 2, "batch_size": 4, "lr": 1e-6},
    sweep=False,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of twelve pictures of three classes, and weights for other classes."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for name, count in (("train", 12), ("test", 6)):
        images = generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        np.savez(folder / f"x_{name}.npz", images=images, labels=np.arange(count) % 3)
    weights = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.manual_seed(0)
    torch.save(sparsebp.models.mobilenet_v2(7).state_dict(), weights)
    return folder, weights


@pytest.fixture(scope="module")
def finished(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two runs of one experiment, two at a time."""
    out = tmp_path_factory.mktemp("runs")
    jobs = [runs.Job(TINY, seed, *inputs, out, 1) for seed in (0, 1)]
    assert {job.seed for job, _ in runs.run_all(jobs, 2)} == {0, 1}
    return out


def test_every_experiment_has_its_own_name_and_settings_that_finetune_takes() -> None:
    names = [e.name for e in experiments.EXPERIMENTS]
    assert len(set(names)) == len(names)
    for experiment in experiments.EXPERIMENTS:
        sparsebp.finetuning.Settings(**experiment.settings)


def test_every_experiment_has_a_plan() -> None:
    models = {name: getattr(sparsebp.models, name)(10) for name in ("mobilenet_v2", "efficientnet_lite0")}
    planned = set()  # many differ only in how they train, which a plan does not depend on
    for experiment in experiments.EXPERIMENTS:
        settings = sparsebp.finetuning.Settings(**experiment.settings)
        request = (experiment.network, settings.budget, repr(settings.conversion()))
        if not experiment.prune and request not in planned:
            plan = sparsebp.plan(models[experiment.network], settings.budget, **settings.conversion())
            assert plan.layers, experiment.name
            planned.add(request)


def test_a_result_says_what_was_run_and_what_came_out(finished: Path) -> None:
    results = runs.read_results(finished)
    assert sorted(r["seed"] for r in results) == [0, 1]
    for result in results:
        assert result["pictures"] == [12, 6]
        assert result["settings"] == TINY.settings
        assert result["accuracy"] == result["epochs"][-1]["accuracy"]
        assert [e["number"] for e in result["epochs"]] == [1, 2]
        assert 0 < result["epochs"][0]["coverage"] <= result["epochs"][1]["coverage"] <= 1
        assert result["memory"]["measured"] == result["plan"]["peak_bytes"] <= 32 * 1024


def test_a_run_that_is_done_gives_the_same_again(finished: Path, inputs: tuple[Path, Path]) -> None:
    before = next(r for r in runs.read_results(finished) if r["seed"] == 0)
    again = runs.carry_out(runs.Job(TINY, 0, *inputs, finished, 1))
    assert again["epochs"] == before["epochs"]


def test_what_has_a_result_is_left_out(
    finished: Path, inputs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accuracy, "EXPERIMENTS", (replace(TINY, seeds=2),))
    accuracy.run(*inputs, None, finished, 1, None)
    assert "0 runs to do, 2 done already" in capsys.readouterr().err


def test_other_settings_are_another_run() -> None:
    changed = replace(TINY, settings={**TINY.settings, "epochs": 3})
    assert changed.identity(0, "x") != TINY.identity(0, "x") != TINY.identity(1, "x")
    assert replace(TINY, what="other words", seeds=9).identity(0, "x") == TINY.identity(0, "x")


def test_the_table_has_mean_and_spread_over_seeds(finished: Path) -> None:
    results = runs.read_results(finished)
    (row,) = experiment_tables.summary([TINY], results)
    low, high = sorted(100 * r["accuracy"] for r in results)
    assert row.accuracy == f"{(low + high) / 2:.2f} ±{(high - low) / 2:.2f}"
    assert row.runs == 2
    assert f"| `headline/default` | a test | {row.accuracy} | 2 |" in experiment_tables.markdown([row])
    other = replace(TINY, settings={**TINY.settings, "lr": 1.0})
    assert experiment_tables.summary([other], results) == []


def test_pictures_are_drawn_of_what_there_is(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'sparsebp[plot]'")
    made = experiment_pictures.draw_all([TINY], runs.read_results(finished), tmp_path)
    assert [file.name for file in made] == ["accuracy-epochs.png", "accuracy-published.png", "coverage.png"]
    assert all(file.stat().st_size > 1000 for file in made)


def test_the_memory_of_the_chosen_step_is_drawn_even_without_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'sparsebp[plot]'")
    accuracy.main(["plot", "--out", str(tmp_path), "--to", str(tmp_path / "pictures")])
    assert [f.name for f in (tmp_path / "pictures").iterdir()] == ["memory.png"]


def test_sweeps_never_see_the_test_set(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    count = runs.TRAIN + runs.HELD_OUT + 10
    pixels = np.zeros((count, 1, 1, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
    np.savez(tmp_path / "a_train.npz", images=pixels, labels=np.arange(count) % 2)
    np.savez(tmp_path / "a_test.npz", images=pixels[:4], labels=np.arange(4) % 2)
    data = runs.open_pictures(tmp_path, sweep=True)

    def number(image: object) -> int:
        red, green, _ = np.asarray(image)[0, 0].astype(int)
        return int(256 * red + green)

    assert number(data.train.picture(0)) == 0
    assert len(data.train) == runs.TRAIN
    assert [number(data.test.picture(i)) for i in (0, runs.HELD_OUT - 1)] == [runs.TRAIN + 10, count - 1]
    with pytest.raises(ValueError, match="a sweep takes 20,000 training pictures"):
        runs.open_pictures(inputs[0], sweep=True)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        accuracy.main(["list", "nothing"])
    assert end.value.code == Exit.USAGE
    assert "no experiment is called nothing" in capsys.readouterr().err


def test_the_command_line_lists_and_shows(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy.main(["list", "size/*"])
    assert "size/129" in capsys.readouterr().out
    accuracy.main(["table", "--out", str(finished), "--markdown", str(finished / "table.md")])
    assert (finished / "table.md").read_text().startswith("| experiment |")


def test_results_are_lines_of_json(finished: Path) -> None:
    lines = (finished / runs.RESULTS).read_text().splitlines()
    assert all(json.loads(line)["environment"]["sparsebp"] == sparsebp.__version__ for line in lines)


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", "7", '{"experiment": "a"}', "\udcff"])
def test_a_line_that_is_no_result_is_named(finished: Path, tmp_path: Path, line: str) -> None:
    good = (finished / runs.RESULTS).read_bytes()
    (tmp_path / runs.RESULTS).write_bytes(good + line.encode(errors="surrogateescape") + b"\n" + good)
    with pytest.raises(ValueError, match=r"results\.jsonl, line 3: expected the result of a run"):
        runs.read_results(tmp_path)


def test_a_run_that_fails_does_not_take_the_others_with_it(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data, weights = inputs
    bad = replace(TINY, name="a/bad", settings=TINY.settings | {"budget": "1KB"})
    monkeypatch.setattr(accuracy, "EXPERIMENTS", (bad, TINY))
    given = ["run", "--data", str(data), "--weights", str(weights), "--out", str(tmp_path), "--seeds", "1"]
    with pytest.raises(SystemExit) as end:
        accuracy.main([*given, "--jobs", "1"])
    assert end.value.code == Exit.FAILED
    shown = capfd.readouterr()
    assert "headline/default seed 0: " in shown.out
    assert "a/bad seed 0: failed: budget: 1,024 bytes hold no plan" in " ".join(shown.err.split())
    assert "1 of 2 runs failed: a/bad seed 0" in " ".join(shown.err.split())
    assert [result["experiment"] for result in runs.read_results(tmp_path)] == ["headline/default"]


SCRIPT = """
import signal
import sys
from pathlib import Path
sys.path.insert(0, {bench!r})
import experiment_runs as runs
from experiments import Experiment

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    long = Experiment("a/b", "", {settings!r} | {{"epochs": 10**6}}, sweep=False)
    print([*runs.run_all([runs.Job(long, 0, Path({data!r}), Path({weights!r}), Path({out!r}), 1)], 1)])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_ends_with_a_checkpoint_when_its_command_ends(
    inputs: tuple[Path, Path], tmp_path: Path, number: signal.Signals
) -> None:
    data, weights = map(str, inputs)
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT.format(bench=str(BENCH), settings=TINY.settings, data=data, weights=weights, out=str(tmp_path))
    )
    with subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True) as command:
        assert command.stderr is not None
        while "epoch 2, accuracy" not in command.stderr.readline():
            assert command.poll() is None
        command.send_signal(number)
        # The run holds the same pipe: it is read to its end only when that process has gone too.
        command.communicate(timeout=300)
    assert list(tmp_path.glob("a-b-0-*/checkpoint-*/state.json"))
