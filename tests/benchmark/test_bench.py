"""The benchmark runs, its numbers follow from each other, and a wrong request is one line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sparsebp
import torch
from sparsebp.cli.errors import Exit

BENCH = Path(__file__).parents[2] / "bench"
sys.path.append(str(BENCH))  # behind the tests' helpers, which have a module of the same name

import backward_speed  # noqa: E402 - found in the line above
import layers  # noqa: E402
from convolutions import read_shapes  # noqa: E402
from summary import summarize  # noqa: E402
from ways import BOTH, INPUT, WEIGHT, SparseWay, TorchWays  # noqa: E402


@dataclass(frozen=True)
class Run:
    """What a run of the script left behind."""

    out: str
    found: dict[str, Any]
    picture: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run of everything, with portable kernels."""
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'sparsebp[plot]'")
    folder = tmp_path_factory.mktemp("bench")
    numbers, picture = folder / "speed.json", folder / "speed.png"
    what = ["--layers", "features.17.*", "--size", "64", "--batch", "2", "--repeats", "2"]
    how = ["--threads", "1", "--threads", "2", "--isa", "scalar", "--json", str(numbers), "--plot", str(picture)]
    command = [sys.executable, str(BENCH / "backward_speed.py"), *what, *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == Exit.OK, done.stderr
    return Run(done.stdout, json.loads(numbers.read_text()), picture)


# -- a run ----------------------------------------------------------------------------------------


def check_quartiles(found: dict[str, float]) -> float:
    """The median, in its place."""
    assert 0 < found["q1"] <= found["median"] <= found["q3"]
    return found["median"]


def test_the_forced_instruction_set_is_the_one_that_runs(run: Run) -> None:
    assert run.found["environment"]["isa"] == "scalar"
    assert {case["isa"] for case in run.found["steps"]} == {"scalar"}
    assert "isa scalar" in run.out


def test_every_layer_has_three_measurements(run: Run) -> None:
    (part,) = run.found["layers"]
    assert (part["size"], part["batch"], part["threads"]) == (64, 2, 2)
    names = {layer["shape"]["name"] for layer in part["layers"]}
    assert names == {s.name for s in read_shapes(64, "features.17.*")}
    for layer in part["layers"]:
        matmul = {"matmul"} if layer["shape"]["kind"] == "pointwise" else set()
        assert {k: set(v) for k, v in layer["times"].items()} == {
            "weight": {"sparsebp", "dense", "gather"} | matmul,
            "input": {"sparsebp", "dense"} | matmul,
            "both": {"sparsebp", "dense", "gather"} | matmul,
        }
        assert layer["selected"] == max(1, round(0.02 * layer["shape"]["inputs"]))
        for gradient, times in layer["times"].items():
            medians = {name: check_quartiles(q) for name, q in times.items()}
            ours = medians.pop("sparsebp")
            assert layer["ratios"][gradient] == pytest.approx({k: v / ours for k, v in medians.items()})
        assert layer["shape"]["name"] in run.out


def test_the_summary_is_of_the_layers(run: Run) -> None:
    (part,) = run.found["layers"]
    for gradient, kinds in part["summary"].items():
        for kind, opponents in kinds.items():
            chosen = [layer for layer in part["layers"] if kind in ("all", layer["shape"]["kind"])]
            ratios = [layer["ratios"][gradient] for layer in chosen]
            expected = {way: [r[way] for r in ratios if way in r] for way in ("dense", "gather", "matmul")}
            expected["fastest"] = [min(r.values()) for r in ratios]
            assert set(opponents) == {way for way, found in expected.items() if found}
            for way, comparison in opponents.items():
                found = expected[way]
                assert comparison["layers"] == len(found)
                assert comparison["mean"] == pytest.approx(math.prod(found) ** (1 / len(found)))
                assert comparison["slower"] == sum(r < 1 for r in found)
                assert comparison["worst"] == min(found)
                assert comparison["worst_layer"] in {layer["shape"]["name"] for layer in chosen}


def test_steps_are_timed_for_every_number_of_threads(run: Run) -> None:
    cases = run.found["steps"]
    assert [case["threads"] for case in cases] == [1, 2]
    plan = sparsebp.plan(
        sparsebp.models.mobilenet_v2(10), "512KB", input_size=(3, 64, 64), batch_size=2, max_update_ratio=0.02
    )
    for case in cases:
        ours, dense, *partial = case["results"]
        assert [ours["contender"], dense["contender"]] == ["sparsebp", "dense"]
        assert "partial features.11" in [r["contender"] for r in partial]
        assert len(partial) == 2
        assert ours["arena"] == plan.peak_bytes
        assert all(dense["outside"] > r["outside"] for r in [ours, *partial])
        assert dense["arena"] == 0
        for r in case["results"]:
            assert r["ms"] == check_quartiles(r["time"])
            assert r["ratio"] == pytest.approx(r["ms"] / ours["ms"])
            assert r["contender"] in run.out
            assert f"{r['outside']:,}" in run.out


def test_the_floor_follows_from_work_time_and_rates(run: Run) -> None:
    for case in run.found["steps"]:
        floor, ms = case["floor"], case["results"][0]["ms"]
        work, rates = floor["work"], floor["rates"]
        operations = 2 * (work["forward"] + work["input_grad"] + work["weight_grad"])
        sgemm, peak, copy = (check_quartiles(rates[name]) for name in ("sgemm", "peak", "copy"))
        assert floor["gflop"] == operations / 1e9
        assert floor["ms"] == ms
        assert floor["gflops"] == pytest.approx(operations / 1e6 / ms)
        assert floor["sgemm_share"] == pytest.approx(operations / (sgemm * 1e9) / (ms / 1e3))
        assert floor["sgemm_ms"] == pytest.approx(floor["sgemm_share"] * ms)
        assert floor["peak_share"] == pytest.approx(floor["gflops"] / peak)
        assert floor["copy_ms"] == pytest.approx(1e3 * work["moved"] / (copy * 1e9))
        assert "FMA peak" in run.out
        assert f"{floor['gflop']:.3f}" in run.out


def test_inference_and_its_bytes(run: Run) -> None:
    cases = run.found["inference"]
    assert [case["threads"] for case in cases] == [1, 2]
    plan = sparsebp.plan(
        sparsebp.models.mobilenet_v2(10), "512KB", input_size=(3, 64, 64), batch_size=2, max_update_ratio=0.02
    )
    for case in cases:
        ours, torch_best = case["results"]
        assert (ours["contender"], torch_best["contender"]) == ("sparsebp", "torch")
        assert (ours["workspace"], torch_best["workspace"]) == (plan.inference_bytes, 0)
        assert ours["tensors"] == 2 * 10 * 4, "the output"
        # The widest pair of tensors: what the expansion of features.2 reads and makes, 16 and 96 channels.
        assert torch_best["tensors"] >= 2 * 32 * 32 * (16 + 96) * 4
        for r in case["results"]:
            assert r["ratio"] == pytest.approx(check_quartiles(r["time"]) / ours["ms"])
            assert f"{r['tensors']:,}" in run.out


def test_the_picture(run: Run) -> None:
    from PIL import Image

    with Image.open(run.picture) as image:
        assert image.format == "PNG"
        assert image.width > image.height > 200


# -- the layers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["features.0.0", "features.16.conv.0.0", "features.14.conv.1.0", "features.17.*.2"])
@pytest.mark.parametrize("batch", [1, 3])
def test_all_ways_back_find_the_same_gradients(pattern: str, batch: int) -> None:
    torch.manual_seed(0)
    for shape in read_shapes(96, pattern):
        layers.LayerCase(shape, batch, 0.02).check()


def test_the_image_needs_no_gradient() -> None:
    (shape,) = read_shapes(32, "features.0.0")
    (result,) = layers.measure([shape], 1, 0.02, layers.Effort(1))
    assert set(result.times) == {WEIGHT}
    assert summarize([result])[BOTH] == {}


def test_a_way_that_finds_another_gradient_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = TorchWays._gathered
    monkeypatch.setattr(TorchWays, "_gathered", lambda *arguments: (None, 2 * gathered(*arguments)[1]))
    (shape,) = read_shapes(32, "features.17.conv.2")
    with pytest.raises(AssertionError, match=r"features.17.conv.2: the weight gradient of gather is off by 1.0e\+00"):
        layers.LayerCase(shape, 1, 0.02).check()


@pytest.mark.parametrize("gradient", [WEIGHT, INPUT, BOTH])
def test_only_what_is_asked_for_is_computed(gradient: str) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(40, 8, 1, bias=False)
    way = SparseWay(conv, torch.randn(1, 40, 5, 5), torch.randn(1, 8, 5, 5), gradient, ratio=0.1)
    dx, dw = way.gradients()
    assert (dx is not None) == (gradient != WEIGHT)
    assert int(dw.abs().sum((0, 2, 3)).count_nonzero()) == (0 if gradient == INPUT else 4)


# -- wrong requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--isa", "mmx"], "--isa: expected one that this build on this processor has, "),
        (["--size", "64", "--size", "3"], "--size: expected at least 32, got 3"),
        (["--threads", "0"], "--threads: expected at least 1, got 0"),
        (["--layers", "nonsense"], "no layer in mobilenet_v2.txt matches 'nonsense'"),
        (["--json", "/absent/a.json"], "--json: there is no folder /absent"),
        (["--plot", "/absent/a.png"], "--plot: there is no folder /absent"),
        (["--plot", "a.png", "--no-steps"], "--plot: there is nothing to draw with --no-steps"),
    ],
)
def test_a_wrong_request_is_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], threads: object
) -> None:
    with pytest.raises(SystemExit) as done:
        backward_speed.run(arguments)
    assert done.value.code == Exit.USAGE
    assert f"sparsebp: error: {expected}" in capsys.readouterr().err


def test_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as done:
        backward_speed.run(["--plot", str(tmp_path / "a.png")])
    assert done.value.code == Exit.USAGE
    assert "pip install 'sparsebp[plot]'" in capsys.readouterr().err
