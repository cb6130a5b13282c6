"""``sparsebp-runtime train``, killed again and again, goes on from what it saved last and ends with the same bits."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

from board_runs import command, environment, pictures, plan, words

__all__ = ["pictures", "plan"]  # fixtures

KILLS, WHILE_SAVING = 100, 20
STEPS = 60


def train(plan: Path, pictures: Path, out: Path) -> list[str]:
    given = ("train", plan, "--data", pictures, "--out", out, "--steps", STEPS, "--every", 1, "--mirror", "--resume")
    return words(*given)


def partials(out: Path) -> list[Path]:
    return list(out.parent.glob(f".{out.name}.*.partial"))


def kill(process: subprocess.Popen[bytes], out: Path, chance: random.Random, saving: bool) -> str | None:
    """At a random moment, or while the plan file is written; what the process was doing, None if it was done before."""
    end = time.monotonic() + chance.uniform(0.0, 0.9)
    while process.poll() is None:
        if saving and time.monotonic() > end and partials(out):
            process.send_signal(signal.SIGKILL)
            process.wait()
            return "saving" if partials(out) else "between"
        if not saving and time.monotonic() > end:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return "saving" if partials(out) else "between"
    return None


def test_a_hundred_kills_end_with_the_bits_of_an_undisturbed_run(plan: Path, pictures: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed.safetensors"
    subprocess.run(train(plan, pictures, undisturbed), check=True, capture_output=True, env=environment())
    chance, turn = random.Random(0), 0
    killed: list[str] = []
    while len(killed) < KILLS or killed.count("saving") < WHILE_SAVING:
        out = tmp_path / f"{turn}.safetensors"
        while True:
            process = subprocess.Popen(
                train(plan, pictures, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
            )
            doing = kill(process, out, chance, saving=chance.random() < 0.5)
            assert process.stderr is not None
            said = process.stderr.read().decode()
            process.stderr.close()
            if doing is None:
                assert process.returncode == 0, said
                break
            killed.append(doing)
        assert out.read_bytes() == undisturbed.read_bytes()
        assert partials(out) == []
        turn += 1
    assert turn >= 3


def test_a_file_of_the_run_is_whole_after_every_kill(plan: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    chance = random.Random(1)
    for _ in range(5):
        process = subprocess.Popen(train(plan, pictures, out), stdout=subprocess.DEVNULL, env=environment())
        if kill(process, out, chance, saving=True) is None:
            break
        assert not out.exists() or command("info", out).returncode == 0
