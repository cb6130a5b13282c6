"""sparsebp-runtime, installed alone beside numpy, trains a plan file with the bits that this machine trains.

``make check-runtime`` installs the wheels and names in ``SPARSEBP_RUNTIME_SITES`` the folder with a folder for each of
them, in ``SPARSEBP_RUNTIME_BOARDS`` the processors to emulate, and in ``SPARSEBP_RUNTIME_STEPS`` how many steps to
take: an emulated Cortex-A7 needs eight seconds for one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import fifty_steps
import numpy as np
import pytest
import sparsebp
from fifty_steps import CLASSES, SIDE
from sparsebp.data import Preprocess
from sparsebp.runtime import Session

ROOT = Path(__file__).parents[2]
HERE = "here"
BOARDS = {"cortex-a53": "aarch64", "cortex-a76": "aarch64", "cortex-a7": "armhf"}
PYTHON = {
    HERE: ROOT / "build/cross/tools/bin/python",
    "aarch64": ROOT / "cross/bin/python-aarch64",
    "armhf": ROOT / "cross/bin/python-armhf",
}
STRANGERS = {"torch", "sparsebp", "safetensors", "typer", "rich", "PIL"}


@pytest.fixture(scope="module")
def sites() -> Path:
    folder = os.environ.get("SPARSEBP_RUNTIME_SITES")
    if not folder:
        pytest.skip("SPARSEBP_RUNTIME_SITES does not name what make check-runtime has installed")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def place(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan, pictures, and what a session on this machine makes of them."""
    folder = tmp_path_factory.mktemp("runtime")
    data = os.environ.get("SPARSEBP_DATA")
    network = fifty_steps.network(data and Path(data) / "mobilenet_v2_imagenet.pt")
    model = sparsebp.convert(network, "256KB", input_size=(3, SIDE, SIDE), max_update_ratio=0.02, seed=1)
    sparsebp.export(model, folder / "plan", preprocess=Preprocess((SIDE, SIDE)), lr=0.001, batch_size=1)
    steps = int(os.environ.get("SPARSEBP_RUNTIME_STEPS", fifty_steps.STEPS))
    pictures = np.random.default_rng(1).integers(0, 256, (steps, SIDE, SIDE, 3), np.uint8)
    np.save(folder / "pictures.npy", pictures)
    session = Session(folder / "plan")
    for step, picture in enumerate(pictures):
        session.train(picture[None], [step % CLASSES])
        if step == 0:
            session.save(folder / "first")
    session.save(folder / "last")
    return folder


def python(processor: str, sites: Path, *words: str | Path) -> str:
    """What a Python of the processor prints, which finds sparsebp-runtime and numpy and nothing else."""
    kind = BOARDS.get(processor, HERE)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(sites / kind), "QEMU_CPU": processor}
    done = subprocess.run([PYTHON[kind], *words], env=env, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("processor", [HERE, *BOARDS])
def test_steps_from_a_plan_file_have_the_bits_of_this_machine(
    processor: str, sites: Path, place: Path, tmp_path: Path
) -> None:
    if processor not in (HERE, *os.environ["SPARSEBP_RUNTIME_BOARDS"].split()):
        pytest.skip(f"SPARSEBP_RUNTIME_BOARDS does not name {processor}")
    steps = ROOT / "tests/helpers/board_steps.py"
    said: dict[str, Any] = json.loads(python(processor, sites, steps, place / "plan", place / "pictures.npy", tmp_path))
    assert [line for line in said["requires"] if "extra ==" not in line] == ["numpy>=1.24"]
    assert not STRANGERS & set(said["loaded"])
    assert said["isa"] == "neon" or processor == HERE
    assert (tmp_path / "first").read_bytes() == (place / "first").read_bytes()
    assert (tmp_path / "last").read_bytes() == (place / "last").read_bytes()
    assert "262,144 bytes" in python(processor, sites, "-m", "sparsebp_runtime", "info", tmp_path / "last")
