"""The README's example on real ImageNet weights and real CIFAR-10, in small."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10.py"


def run(data: Path, *options: str) -> str:
    """What the example prints, without its progress bars."""
    command = [sys.executable, str(EXAMPLE), str(data), str(data / "mobilenet_v2_imagenet.pt")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_imagenet_network_learns_cifar10_inside_256_kb(data_root: Path) -> None:
    """640 images are enough to leave chance, 10 %, far behind; every byte is where the plan said."""
    out = run(data_root, "--size", "97", "--train", "640", "--test", "200")
    accuracy = re.search(r"test accuracy ([\d.]+)%", out)
    memory = re.search(r"predicted ([\d,]+), measured ([\d,]+), budget ([\d,]+)", out)
    outside = re.search(r"outside the arena: ([\d,]+) bytes", out)
    assert accuracy, out
    assert memory, out
    assert outside, out
    predicted, measured, budget = (int(n.replace(",", "")) for n in memory.groups())
    assert float(accuracy[1]) > 20
    assert predicted == measured <= budget == 262_144
    assert int(outside[1].replace(",", "")) < 4096
