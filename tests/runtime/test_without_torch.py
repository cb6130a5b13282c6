"""A Python that has numpy and no torch trains a plan file, with the bits of the loop through autograd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from sparsebp.data import Preprocess
from torch.nn.functional import cross_entropy

STEPS, SIDE, CLASSES = 50, 64, 10
PICTURES = Preprocess((SIDE, SIDE), range=(-1.0, 1.0), mean=(0.1, 0.0, -0.1), std=(0.9, 1.0, 1.1))

#: What runs there: arguments are the plan file, the pictures, where to write, and a number of threads.
PROGRAM = """
import importlib.util, sys
import numpy as np
from sparsebp import _C
from sparsebp.runtime import Session
assert all(importlib.util.find_spec(name) is None for name in ("torch", "safetensors", "typer", "PIL"))
plan, data, out, threads = sys.argv[1:]
_C.set_plain_threads(int(threads))
pictures = np.load(data)
session = Session(plan)
for image, label in zip(pictures["images"], pictures["labels"]):
    session.train(image[None], [label])
session.save(out)
"""


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an interpreter that does not look elsewhere finds sparsebp and numpy."""
    site = tmp_path_factory.mktemp("site")
    numpy = Path(np.__file__).parent
    for package in (Path(sparsebp.__file__).parent, numpy, numpy.with_name("numpy.libs")):
        if package.exists():
            (site / package.name).symlink_to(package)
    return site


@pytest.mark.parametrize("count", [1, 2], ids=["one thread", "two threads"])
def test_fifty_steps_give_the_bits_of_the_loop(tmp_path: Path, without_torch: Path, threads: Any, count: int) -> None:
    torch.manual_seed(0)
    network = sparsebp.models.mobilenet_v2(CLASSES, dropout=0.2)
    model = sparsebp.convert(network, "256KB", input_size=(3, SIDE, SIDE), max_update_ratio=0.02).train()
    opt = sparsebp.optim.SGD(model, lr=0.01)
    plan, data, after = (tmp_path / name for name in ("plan.safetensors", "pictures.npz", "after.safetensors"))
    sparsebp.export(model, plan, preprocess=PICTURES)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (STEPS, SIDE, SIDE, 3), np.uint8)
    labels = generator.integers(0, CLASSES, STEPS)
    np.savez(data, images=images, labels=labels)

    # -S leaves out the folder of installed packages.
    environment = {**os.environ, "PYTHONPATH": str(without_torch)}
    command = [sys.executable, "-S", "-c", PROGRAM, str(plan), str(data), str(after), str(count)]
    subprocess.run(command, env=environment, check=True, timeout=300)

    threads(count)
    for image, label in zip(images, labels, strict=True):
        x = PICTURES.normalise(torch.from_numpy(image[None]))
        cross_entropy(model(x).double(), torch.tensor([label])).backward()
        opt.step()
        opt.zero_grad()
    trained = sparsebp.load_file(after)
    assert [n for n, t in model.state_dict().items() if not torch.equal(trained[n], t)] == []
    before = sparsebp.load_file(plan)
    assert sum(not torch.equal(before[n], t) for n, t in trained.items()) > 10
    sparsebp.models.mobilenet_v2(CLASSES).load_state_dict(trained)
