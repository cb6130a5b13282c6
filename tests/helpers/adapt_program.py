"""The example for boards, ``examples/board``: built, given plans and pictures, and done again in Python beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import sparsebp
from c_library import ROOT, cmake, run
from PIL import Image
from sparsebp.data import Preprocess
from sparsebp.runtime import Session
from torch import nn

SOURCE = ROOT / "examples" / "board"
CLASSES = ["bee", "ant", 'löwe "🦁"']  # neither in alphabetical order nor ASCII
HELD_OUT_EVERY = 5


def build(folder: Path, library: Path) -> Path:
    """The program, by its own CMakeLists, against the library installed in ``library``; every warning is an error."""
    command, *generator = cmake()
    run(command, "-S", SOURCE, "-B", folder, *generator, f"-DCMAKE_PREFIX_PATH={library}", "-DCMAKE_C_FLAGS=-Werror")
    run(command, "--build", folder)
    return folder / "adapt"


def export(path: Path, network: nn.Module, side: int, scope: str = "training", **settings: object) -> Path:
    """A plan file for square pictures; ``settings`` replace those of :func:`sparsebp.export`."""
    size = (3, side, side)
    model = sparsebp.convert(network, "256KB", input_size=size, max_update_ratio=0.02, seed=1, scope=scope)
    given = {"classes": CLASSES, "preprocess": Preprocess((side, side)), "lr": 0.01, "batch_size": 1}
    sparsebp.export(model, path, **{**given, **settings})
    return path


def picture(path: Path, seed: int, width: int = 60, height: int = 40) -> Path:
    """A picture of soft colours, as PPM or, by its ending, as a raw frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    if path.suffix == ".rgb":
        path.write_bytes(image.tobytes())
    else:
        image.save(path)
    return path


def pictures(folder: Path, each: int = 6, ending: str = ".ppm") -> Path:
    """A folder with ``each`` pictures of every class."""
    for label, name in enumerate(CLASSES):
        for i in range(each):
            picture(folder / name / f"{i}{ending}", 100 * label + i)
    return folder


def trained(plan: Path, folder: Path, epochs: int) -> Session:
    """What the program does to a plan with PPM pictures, done by a session in Python."""
    session = Session(plan)
    classes, training = session.classes, []
    assert classes is not None
    for name in sorted(classes, key=str.encode):
        files = sorted((folder / name).glob("*.ppm"))
        training += [(file, classes.index(name)) for i, file in enumerate(files, 1) if i % HELD_OUT_EVERY]
    random = session.progress.batches
    for _ in range(epochs):
        random = shuffle(training, random)
        for file, label in training:
            session.train(fitted(session, file)[None], [label])
    return session


def answer(session: Session, file: Path) -> str:
    """What the program prints of a picture: classes and their probabilities, the likeliest first."""
    logits = session.predict(fitted(session, file)[None])[0].astype(np.float64)
    powers = np.exp(logits - logits.max())
    shares = powers / powers.sum()
    return ", ".join(f"{CLASSES[i]} {100 * shares[i]:.1f} %" for i in np.argsort(-shares, kind="stable"))


def fitted(session: Session, file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return Preprocess.from_dict(session.metadata["preprocess"]).fit(image)


def shuffle(items: list, random: int) -> int:
    """Fisher and Yates by Knuth's generator, as ``examples_shuffle``; returns the generator's new state."""
    for i in range(len(items), 1, -1):
        random = (random * 6364136223846793005 + 1442695040888963407) % 2**64
        other = (random >> 33) % i
        items[i - 1], items[other] = items[other], items[i - 1]
    return random


def call(program: list[str | Path], *words: object, **rest: object) -> subprocess.CompletedProcess[str]:
    """Runs the program; its output is text."""
    return subprocess.run([*program, *map(str, words)], capture_output=True, text=True, timeout=300, **rest)
