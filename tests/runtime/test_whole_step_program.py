"""A C program trains with a static block for the whole step, and the library takes hardly anything else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sparsebp
import torch
from c_library import PROGRAMS, STRICT, installed_once, run
from networks import mobilenet
from sparsebp import _C
from sparsebp.data import Preprocess
from sparsebp.runtime import Session

SIDE, IMAGES, CLASSES = 128, 4, 10

#: Bytes of the heap for names and shapes of a MobileNetV2, whatever the size of its pictures.
REMEMBERED = 300_000
#: Buffers of the C library's own files.
FILES = 16_384


@dataclass(frozen=True)
class Trained:
    """What a session trained whose budget covers training alone, and files for the program."""

    files: dict[str, Path]
    losses: list[float]
    logits: list[float]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, prefix = tmp_path_factory.mktemp("program"), installed_once(tmp_path_factory)
    library = [f"-L{prefix / 'lib'}", "-lsparsebp", f"-Wl,-rpath,{prefix / 'lib'}"]
    run("cc", *STRICT, f"-I{prefix / 'include'}", PROGRAMS / "whole_step.c", "-o", folder / "whole_step", *library)
    return folder / "whole_step"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("plans")
    plans = {"step": ("step", "arena"), "camera": ("step", "elsewhere"), "training": ("training", "arena")}
    for name, (scope, pictures) in plans.items():
        torch.manual_seed(0)
        model = sparsebp.convert(
            mobilenet(classes=CLASSES),
            "256KB",
            scope=scope,
            pictures=pictures,
            input_size=(3, SIDE, SIDE),
            max_update_ratio=0.02,
        )
        sparsebp.export(model, folder / name, lr=0.01, batch_size=1, preprocess=Preprocess((SIDE, SIDE)))
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    labels = generator.integers(0, CLASSES, IMAGES)
    (folder / "images").write_bytes(images.tobytes())
    (folder / "labels").write_bytes(labels.astype(np.uint8).tobytes())
    session = Session(folder / "training")
    losses = [session.train(images[i : i + 1], labels[i : i + 1]).loss for i in range(IMAGES)]
    files = {name: folder / name for name in (*plans, "images", "labels")}
    return Trained(files, losses, session.predict(images[:1])[0].tolist())


def test_the_block_holds_no_more_pictures_than_a_micro_batch(trained: Trained) -> None:
    session = Session(trained.files["step"])
    assert session.pictures is not None
    assert session.pictures.shape == (1, SIDE, SIDE, 3)
    with pytest.raises(ValueError, match="n: the block has room for 1 images at once, got 2"):
        session._plan.predict(
            session.pictures.ctypes.data, _C.Form.bytes, 2, np.empty((2, CLASSES), np.float32).ctypes.data
        )
    assert Session(trained.files["camera"]).pictures is None


@pytest.mark.parametrize(
    ("plan", "way"), [("step", "block"), ("step", "memory"), ("step", "rows"), ("camera", "memory"), ("camera", "rows")]
)
def test_a_static_block_holds_the_step_wherever_the_pictures_are(
    program: Path, trained: Trained, plan: str, way: str
) -> None:
    files = trained.files
    *said, heap = run(program, files[plan], files["images"], files["labels"], way).splitlines()
    numbers = [float.fromhex(line) for line in said]
    assert numbers == trained.losses + trained.logits
    opened, attached, steps = map(int, heap.split())
    assert opened + attached < REMEMBERED
    assert steps <= FILES
