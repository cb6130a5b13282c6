"""A folder in which the pages' commands run: what they name is there, small, and what they write is left behind.

A page that names something else, ``--data BIRDS`` say, fails with "no such file": add the name here.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import sparsebp
import torch
from PIL import Image
from sparsebp.data import Preprocess
from sparsebp.runtime import Session

#: Folders with a folder of pictures per class.
PICTURES = ("PICTURES", "DATA", "FOLDER", "pictures", "other", "train")
#: One with pictures to test with in a folder of their own.
WITH_TESTS = "ants_bees"
PICTURE = ("PICTURE", "picture.jpg", "ants_bees/val/bees/315.jpg")
WEIGHTS = ("WEIGHTS", "FILE", "mobilenet_v2_imagenet.pt")
PLANS = ("PLAN", "BASE", "plan.safetensors")
TRAINED = ("NEW", "trained.safetensors")
PLAN_DATA, RUN = "plan.json", "RUN"
#: Noise with a tint that is the class, so that longer runs learn it rather than diverge.
CLASSES = {"ants": 0, "bees": 90}
SIDE, EACH = 32, 3

#: What is added to a command, so that it takes a second: the last of two equal options counts.
SHORTER = {
    "sparsebp finetune": f"--input-size {SIDE} --epochs 1 --workers 0 --threads 1",
    "sparsebp export --weights": f"--input-size {SIDE}",
    "sparsebp evaluate": "--workers 0 --threads 1",
    "sparsebp bench": f"--input-size {SIDE} --seconds 0.1",
    "sparsebp-runtime train": "--threads 1",
    "sparsebp-runtime train --watch": "--stop-after 2 --patience 1",
    "sparsebp-runtime bench": "--seconds 0.1",
}


def shortened(words: list[str]) -> list[str]:
    """The words of a command with what makes it short."""
    added = [more for key, more in SHORTER.items() if words[:2] == key.split()[:2] and {*key.split()} <= {*words}]
    return [*words, *" ".join(added).split()]


def network(classes: int) -> torch.nn.Module:
    """MobileNetV2 as if it had been trained: its norms have the statistics of some noise."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        made = sparsebp.models.mobilenet_v2(classes)
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # takes over the statistics of one batch
        made.train()(torch.randn(4, 3, 96, 96))
    return made


def furnish(place: Path) -> None:
    """Writes all that the pages name into an empty folder."""
    generator = np.random.default_rng(0)
    for name, tint in CLASSES.items():
        for number in range(EACH):
            path = place / PICTURES[0] / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 160, (SIDE, SIDE, 3), np.uint8) + np.uint8(tint)).save(path)
    for folder in PICTURES[1:]:
        shutil.copytree(place / PICTURES[0], place / folder)
    for folder in ("train", "val"):
        shutil.copytree(place / PICTURES[0], place / WITH_TESTS / folder)
    for file in PICTURE:
        shutil.copy(path, place / file)
    for file in WEIGHTS:
        torch.save(network(1000).state_dict(), place / file)
    size = (3, SIDE, SIDE)
    two = network(len(CLASSES))
    model = sparsebp.convert(two, "256KB", input_size=size, max_update_ratio=0.02, normalise=True)
    for file in PLANS:
        sparsebp.export(model, place / file, classes=[*CLASSES], preprocess=Preprocess(size[1:]), lr=0.0003)
    model.plan.save(place / PLAN_DATA)
    sparsebp.finetune(two, place / PICTURES[0], plan=model.plan, epochs=1, out=place / RUN, dense_audit=False)
    session = Session(place / PLANS[0])
    session.train(np.zeros((1, SIDE, SIDE, 3), np.uint8), [0])
    for file in TRAINED:
        session.save(place / file)


def given() -> dict[str, Any]:
    """What the pages' Python takes for granted: names that some earlier line of a reader's own program made."""
    two = network(len(CLASSES))
    return {
        "torch": torch,
        "sparsebp": sparsebp,
        "network": two,
        "model": two,
        "loader": [(torch.zeros(1, 3, 128, 128), torch.tensor([1]))],
        "pixels": np.zeros((1, 128, 128, 3), np.uint8),
        "labels": [1],
    }
