"""``sparsebp-runtime`` info, predict, bench and delta."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from board_runs import arrays, command, pictures, plan, write_plan
from runs import CLASSES
from sparsebp.runtime import Session, apply_delta, make_delta
from sparsebp.runtime.pictures import Reader

__all__ = ["pictures", "plan"]  # fixtures


@pytest.fixture
def trained(plan: Path, tmp_path: Path) -> Path:
    session, out = Session(plan), tmp_path / "trained.safetensors"
    noise = np.random.default_rng(0)
    for _ in range(3):
        session.train(noise.integers(0, 256, (4, 16, 16, 3), np.uint8), [0, 1, 2, 3])
    session.save(out)
    return out


def test_info_tells_of_a_plan(plan: Path) -> None:
    assert "blue, green, grey, red" in command("info", plan).stdout
    facts = json.loads(command("info", plan, "--json").stdout)
    assert facts["classes"] == list(CLASSES)
    assert facts["training needs"] == Session(plan).sizes.arena_bytes
    assert facts["plan"]["layers"]


def test_info_tells_of_the_machine() -> None:
    facts = json.loads(command("info", "--json").stdout)
    assert facts["kernels"] in ("scalar", "avx2", "avx512", "neon")


def test_predict_gives_the_probabilities_of_the_session(plan: Path, pictures: Path) -> None:
    files = sorted((pictures / "test").rglob("*.png"))[:3]
    done = command("predict", plan, *files, "--json")
    session = Session(plan)
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        found = json.loads(line)
        logits = session.predict(Reader(session).read(file)[None])[0].astype(np.float64)
        wanted = np.exp(logits) / np.exp(logits).sum()
        assert found["file"] == str(file)
        assert list(found["probabilities"].values()) == pytest.approx(wanted)
        assert found["class"] == CLASSES[int(wanted.argmax())]


def test_predict_names_what_it_cannot_read_and_goes_on(plan: Path, pictures: Path, tmp_path: Path) -> None:
    good, missing, text = next((pictures / "test").rglob("*.png")), tmp_path / "none.png", tmp_path / "text.jpg"
    text.write_text("no picture")
    done = command("predict", plan, missing, good, text)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert "none.png: there is no such file" in done.stderr
    assert "text.jpg: not a picture" in done.stderr


def test_bench_measures(plan: Path) -> None:
    facts = json.loads(command("bench", plan, "--seconds", 0.2, "--threads", 1, "--json").stdout)
    assert facts["threads"] == 1
    assert 0 < facts["step_ms"]["median"] <= facts["step_ms"]["longest"]
    assert 2**20 < facts["peak_memory_bytes"] < 100 * 2**20  # of its own: this process, which started it, has torch
    assert "ms" in command("bench", plan, "--seconds", 0.1).stdout


def test_a_delta_of_two_files_holds_what_differs_and_gives_the_second(
    plan: Path, trained: Path, tmp_path: Path
) -> None:
    delta, out = tmp_path / "d", tmp_path / "out.safetensors"
    make_delta(plan, trained, delta)
    apply_delta(plan, delta, out)
    assert out.read_bytes() == trained.read_bytes()
    old, new, held = arrays(plan), arrays(trained), arrays(delta)
    different = {name for name in old if not np.array_equal(old[name], new[name])}
    assert {name for name in held if not name.startswith("sparsebp.channels.")} == different | {"sparsebp.state"}


def test_deltas_are_applied_one_after_the_other(plan: Path, trained: Path, tmp_path: Path) -> None:
    session, last = Session(trained), tmp_path / "last.safetensors"
    session.train(np.zeros((4, 16, 16, 3), np.uint8), [0, 1, 2, 3])
    session.save(last)
    first, second, out = tmp_path / "1", tmp_path / "2", tmp_path / "out.safetensors"
    assert command("delta", "make", plan, trained, "--out", first).returncode == 0
    assert command("delta", "make", trained, last, "--out", second).returncode == 0
    assert command("delta", "apply", plan, first, second, "--out", out).returncode == 0
    assert out.read_bytes() == last.read_bytes()
    wrong = command("delta", "apply", plan, second, first, "--out", out)
    assert wrong.returncode == 2
    assert "apply deltas in the order" in wrong.stderr
    assert out.read_bytes() == last.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_files_of_different_plans_have_no_delta(plan: Path, tmp_path: Path) -> None:
    other = write_plan(tmp_path / "other.safetensors", lr=0.5)
    refused = command("delta", "make", plan, other, "--out", tmp_path / "d")
    assert refused.returncode == 2
    assert "different plans" in refused.stderr
    assert not (tmp_path / "d").exists()


def test_a_device_is_not_replaced(plan: Path) -> None:
    done = command("delta", "make", plan, plan, "--out", "/dev/null")
    assert done.returncode == 2
    assert "not to be replaced" in done.stderr


def test_a_damaged_file_is_named(plan: Path, trained: Path, tmp_path: Path) -> None:
    delta, cut = tmp_path / "delta", tmp_path / "cut"
    make_delta(plan, trained, delta)
    for whole, words in {
        plan: ("make", cut, trained),
        trained: ("make", plan, cut),
        delta: ("apply", plan, cut),
    }.items():
        cut.write_bytes(whole.read_bytes()[:5000])
        refused = command("delta", *words, "--out", tmp_path / "out")
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"sparsebp-runtime: {cut}, the ")
        assert refused.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
