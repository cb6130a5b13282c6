"""The C library, built and installed where a test wants it, and pictures for programs that use it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import sparsebp
from networks import tiny_mobilenet
from sparsebp.data import Preprocess

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "c"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def run(*words: str | Path, env: Mapping[str, str] | None = None) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, timeout=900, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cmake() -> list[str]:
    """The command, and how it configures; skips where there is nothing to build with."""
    scripts = Path(sysconfig.get_path("scripts"))
    command = shutil.which("cmake", path=str(scripts)) or shutil.which("cmake")
    if command is None or shutil.which("cc") is None:
        pytest.skip("building the C library needs cmake and a C compiler")
    if not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("the sources are not here")
    ninja = shutil.which("ninja", path=str(scripts)) or shutil.which("ninja")
    return [command, *(["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else [])]


def install(folder: Path, *options: str) -> Path:
    """Builds the library in ``folder`` and installs it into ``folder/installed``, whose path is returned."""
    command, *generator = cmake()
    build, prefix = folder / "build", folder / "installed"
    library = ["-DSPARSEBP_PYTHON=OFF", "-DSPARSEBP_LIBRARY=ON", "-DCMAKE_INSTALL_LIBDIR=lib"]
    run(command, "-S", ROOT, "-B", build, *generator, *library, *options)
    run(command, "--build", build)
    run(command, "--install", build, "--prefix", prefix)
    return prefix


def installed_once(factory: pytest.TempPathFactory) -> Path:
    """The library, installed and then moved to the folder that is returned; one for all processes of a test run.

    ``SPARSEBP_LIBRARY_BUILD`` names a folder in which it is built already, as it is in a development build.
    """
    place = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    moved = place / "library"
    with (place / "library.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not moved.exists():
            shutil.move(_from_build(place) or install(place / "library-build"), moved)
    return moved


def _from_build(place: Path) -> Path | None:
    build = os.environ.get("SPARSEBP_LIBRARY_BUILD")
    if not build:
        return None
    command, *_ = cmake()
    run(command, "--install", build, "--component", "library", "--prefix", place / "library-installed")
    return place / "library-installed"


def export(
    folder: Path, images: int, side: int = 16, spare: int = 0, ratio: float = 1.0
) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Writes a plan of ten outputs, images and labels for a C program; their paths, and the arrays."""
    classes = 10 - spare
    net, shares = tiny_mobilenet(dropout=0.2), {"*": ratio}
    model = sparsebp.convert(net, "1MB", input_size=(3, side, side), ratios=shares).train()
    opt = sparsebp.optim.SGD(model, lr=0.02)
    names = {"classes": [f"class {i}" for i in range(classes)], "spare_classes": spare} if spare else {}
    sparsebp.export(model, folder / "plan", preprocess=Preprocess((side, side)), **names)
    del opt
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, side, side, 3), np.uint8)
    labels = generator.integers(0, classes, images)
    (folder / "images").write_bytes(pixels.tobytes())
    (folder / "labels").write_bytes(labels.astype(np.uint8).tobytes())
    return [folder / name for name in ("plan", "images", "labels")], pixels, labels
