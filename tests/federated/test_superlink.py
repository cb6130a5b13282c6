"""A real server and two real clients: one has no torch, one is killed in the middle of a round and comes back.

``SPARSEBP_PLAIN_PYTHON`` names a Python that has Flower, numpy, Pillow and sparsebp, but no torch; without it both
clients run on this one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("flwr", reason="needs Flower: pip install 'flwr>=1.42'; its arithmetic is tested in test_rounds.py")

from flower_processes import Federation, wait_for
from rounds import plan_of_rounds
from sparsebp.federated import Client
from sparsebp.runtime import Session

EPOCHS, ROUNDS, TIMEOUT = 400, 3, 25


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    if shutil.which("flower-superlink", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("Flower's commands do not lie beside this Python")
    generator = np.random.default_rng(0)
    for part, each in (("train", 10), ("test", 2)):
        for label in range(10):
            folder = tmp_path / "data" / part / f"class {label}"
            folder.mkdir(parents=True)
            for i in range(each):
                noise = generator.integers(0, 150, (16, 16, 3), np.uint8) + np.uint8(10 * label)
                Image.fromarray(noise).save(folder / f"{i}.png")
    settings = {"plan": plan_of_rounds(tmp_path / "plan.safetensors", lr=1e-4), "data": tmp_path / "data"}
    settings |= {"folder": tmp_path / "kept", "pictures": 100, "tests": 20}
    made = Federation(
        tmp_path / "flower", {**settings, "rounds": ROUNDS, "epochs": EPOCHS, "timeout": TIMEOUT, "alpha": 1.0}
    )
    yield made
    made.close()


def plain_python() -> str:
    found = os.environ.get("SPARSEBP_PLAIN_PYTHON", sys.executable)
    if found != sys.executable:
        assert subprocess.run([found, "-c", "import torch"], capture_output=True).returncode != 0
    return found


def test_a_round_goes_on_without_a_client_that_is_killed_and_nothing_is_lost(
    federation: Federation, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    federation.node(0, 2)
    victim = federation.node(1, 2, plain_python())
    run = federation.run()
    wait_for(lambda: [*(kept / "client-1").glob("features-*.npy")], f"the first round\n{federation.said()}")
    assert not (kept / "client-1" / "network.safetensors").exists()  # it trains
    federation.kill(victim)
    federation.node(1, 2, plain_python())
    wait_for(lambda: run.poll() is not None, "the rounds", 4 * TIMEOUT + 60)
    assert run.returncode == 0, federation.said()
    rounds = json.loads((kept / "global.safetensors.rounds.json").read_text())["rounds"]
    assert [r["turn"] for r in rounds] == [1, 2, 3], federation.said()
    assert [r["replies"] for r in rounds] == [1, 2, 2], federation.said()
    assert Session(kept / "global.safetensors").progress.turn == ROUNDS
    for number in (0, 1):
        version = Client(kept / f"client-{number}").version
        assert version is not None
        assert (version.turn, version.mark) == (rounds[-2]["turn"], rounds[-2]["mark"])
