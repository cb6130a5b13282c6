"""The example for a board with a camera, on real weights: what arrives is learnt, what is broken is passed over."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sparsebp.networks.mobilenet_v2 import mobilenet_v2

EXAMPLE = Path(__file__).parents[2] / "examples" / "camera_folder.py"
COLORS = {"blue": (40, 60, 200), "red": (200, 40, 40)}


def take_pictures(folder: Path, first: int, count: int) -> None:
    generator = np.random.default_rng(first)
    for label, color in COLORS.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            pixels = np.clip(generator.normal(color, 40, (48, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i:04}.jpg")


def test_pictures_are_learnt_as_they_come(data_root: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "trained.safetensors"
    take_pictures(folder, 0, 20)
    (folder / "red" / "half.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "0.jpg").write_bytes(b"")
    command = [sys.executable, str(EXAMPLE), str(folder), str(data_root / "mobilenet_v2_imagenet.pt")]
    options = ["--size", "65", "--out", str(out), "--stop-after", "60", "--patience", "0"]
    run = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.stdout is not None
    lines = [run.stdout.readline() for _ in range(2)]
    (folder / "green").mkdir()
    (folder / "red" / "0000.jpg").rename(folder / "green" / "late.jpg")
    take_pictures(folder, 20, 20)
    rest, _ = run.communicate(timeout=300)
    printed = "".join(lines) + rest
    assert run.returncode == 0, printed
    assert "2 classes" in printed
    assert "half.jpg: no picture" in printed
    assert "late.jpg: no class of this run" in printed
    assert ".thumbnails" not in printed
    known = [int(share) for share in re.findall(r"(\d+)% known before, \d+ ms a step, at most \d+ MB", printed)]
    assert len(known) == 3, printed
    assert known[-1] >= 90, printed
    plain = mobilenet_v2(len(COLORS))
    plain.load_state_dict(load_file(out))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_a_service_manager_stops_it_and_the_weights_are_kept(data_root: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "trained.safetensors"
    take_pictures(folder, 0, 10)
    command = [sys.executable, "-u", str(EXAMPLE), str(folder), str(data_root / "mobilenet_v2_imagenet.pt")]
    options = ["--size", "65", "--out", str(out), "--every", "20"]
    run = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.stdout is not None
    printed = run.stdout.readline() + run.stdout.readline()
    assert "20 pictures" in printed, printed
    time.sleep(0.5)  # it waits for more
    run.terminate()
    rest, _ = run.communicate(timeout=300)
    assert run.returncode == 0, rest
    assert "weights after 20 pictures" in rest
    assert all(torch.isfinite(value).all() for value in load_file(out).values())


def test_it_goes_on_from_its_own_weights_and_stops_where_the_loss_diverges(data_root: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "trained.safetensors"
    take_pictures(folder, 0, 20)

    def run(weights: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(EXAMPLE), str(folder), str(weights), "--size", "65", "--out", str(out), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    assert run(data_root / "mobilenet_v2_imagenet.pt", "--stop-after", "20").returncode == 0
    (folder / "red").rename(folder / "crimson")
    found = run(out, "--stop-after", "40", "--lr", "1000", "--save-every", "5")
    assert "2 classes (classifier.1 goes on by name: 1 kept (blue), 1 new (crimson), 1 dropped (red)); " in found.stdout
    assert found.returncode == 1, found.stdout
    assert re.search(r"picture \d+: training diverged, .*; take a smaller --lr", found.stdout)
    assert all(torch.isfinite(value).all() for value in load_file(out).values())
