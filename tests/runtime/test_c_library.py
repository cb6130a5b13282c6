"""The C library as a program outside the project uses it: built, installed, found, and training the same bits."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import sparsebp
import torch
from networks import tiny_mobilenet
from sparsebp.data import Preprocess
from sparsebp.runtime import Session
from training import SIZE

ROOT = Path(__file__).parents[2]
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def run(*words: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the library was installed."""
    scripts = Path(sysconfig.get_path("scripts"))
    cmake = shutil.which("cmake", path=str(scripts)) or shutil.which("cmake")
    if cmake is None or shutil.which("cc") is None:
        pytest.skip("building the C library needs cmake and a C compiler")
    if not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("the sources are not here")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("installed")
    ninja = shutil.which("ninja", path=str(scripts)) or shutil.which("ninja")
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    off = ["-DSPARSEBP_PYTHON=OFF", "-DSPARSEBP_CUDA=OFF", "-DSPARSEBP_LIBRARY=ON"]
    run(
        cmake,
        "-S",
        ROOT,
        "-B",
        build,
        *generator,
        *off,
        f"-DCMAKE_INSTALL_PREFIX={prefix}",
        "-DCMAKE_INSTALL_LIBDIR=lib",
    )
    run(cmake, "--build", build)
    run(cmake, "--install", build)
    return prefix


def test_the_library_is_small_and_shows_the_c_api_only(installed: Path) -> None:
    library = installed / "lib" / "libsparsebp.so"
    assert library.stat().st_size < 2 * 1024 * 1024
    names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()]
    assert all(name.startswith(("sbp_", "SPARSEBP_1")) for name in names), names
    header = (installed / "include" / "sparsebp" / "sparsebp.h").read_text()
    declared = [name.split("@")[0] for name in names if name.startswith("sbp_")]
    assert all(name in header for name in declared)


@pytest.mark.parametrize("linked", ["shared", "static"])
@pytest.mark.parametrize("memory", [[], ["caller"]], ids=["own memory", "caller's memory"])
def test_a_c_program_trains_the_bits_of_a_session(
    tmp_path: Path, installed: Path, linked: str, memory: list[str]
) -> None:
    program = tmp_path / "train"
    libraries = {
        "shared": [f"-L{installed / 'lib'}", "-lsparsebp", f"-Wl,-rpath,{installed / 'lib'}"],
        "static": [installed / "lib" / "libsparsebp.a", "-lstdc++", "-lpthread", "-ldl", "-lm"],
    }
    include = f"-I{installed / 'include'}"
    run("cc", *STRICT, include, ROOT / "tests" / "c" / "train.c", "-o", program, *libraries[linked])
    model = sparsebp.convert(tiny_mobilenet(dropout=0.2), "64KB", input_size=SIZE).train()
    opt = sparsebp.optim.SGD(model, lr=0.02)
    sparsebp.export(model, tmp_path / "plan", preprocess=Preprocess((16, 16)))
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (10, 16, 16, 3), np.uint8), generator.integers(0, 10, 10)
    (tmp_path / "images").write_bytes(images.tobytes())
    (tmp_path / "labels").write_bytes(labels.astype(np.uint8).tobytes())
    files = [tmp_path / name for name in ("plan", "images", "labels", "after")]
    said = [float.fromhex(line) for line in run(program, *files, *memory).split()]
    session = Session(tmp_path / "plan")
    expected = [session.train(images[i : i + 1], labels[i : i + 1]).loss for i in range(10)]
    assert said == [*expected, *session.predict(images[:1])[0].tolist()]
    session.save(tmp_path / "same")
    assert (tmp_path / "after").read_bytes() == (tmp_path / "same").read_bytes()
    del opt


def test_a_program_that_opens_no_plan_is_told_why(tmp_path: Path, installed: Path) -> None:
    program = tmp_path / "train"
    library = [f"-L{installed / 'lib'}", "-lsparsebp", f"-Wl,-rpath,{installed / 'lib'}"]
    run("cc", *STRICT, f"-I{installed / 'include'}", ROOT / "tests" / "c" / "train.c", "-o", program, *library)
    (tmp_path / "none").write_bytes(torch.zeros(64, dtype=torch.uint8).numpy().tobytes())
    done = subprocess.run([program, tmp_path / "none", "a", "b", "c"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "header" in done.stderr
