"""The C library as a program outside the project uses it: built, installed, found, and training the same bits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_library import PROGRAMS, STRICT, cmake, export, installed_once, run
from sparsebp.runtime import Session, apply_delta

WAYS = ["CMake, shared", "CMake, static", "pkg-config, shared", "pkg-config, static"]

#: A project that knows nothing of this one but its name.
PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(outside LANGUAGES C CXX)
find_package(sparsebp 0.2 REQUIRED)
add_executable(program program.c)
set_target_properties(program PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF)
target_compile_options(program PRIVATE -Wall -Wextra -Wpedantic -Werror)
target_link_libraries(program PRIVATE {target})
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the library was installed, and then moved."""
    return installed_once(tmp_path_factory)


def built(folder: Path, prefix: Path, way: str) -> Path:
    """``tests/c/train.c`` as a program of its own project."""
    finder, linked = way.split(", ")
    shutil.copy(PROGRAMS / "train.c", folder / "program.c")
    if finder == "CMake":
        command, *generator = cmake()
        target = {"shared": "sparsebp::sparsebp", "static": "sparsebp::static"}[linked]
        (folder / "CMakeLists.txt").write_text(PROJECT.format(target=target))
        run(command, "-S", folder, "-B", folder / "build", *generator, f"-DCMAKE_PREFIX_PATH={prefix}")
        run(command, "--build", folder / "build")
        return folder / "build" / "program"
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not here")
    where = {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    words = ["--static"] if linked == "static" else []
    flags = run("pkg-config", *words, "--cflags", "--libs", "sparsebp", env=where).split()
    if linked == "static":
        flags = ["-l:libsparsebp.a" if flag == "-lsparsebp" else flag for flag in flags]
    rpath = f"-Wl,-rpath,{prefix / 'lib'}"
    run("cc", *STRICT, folder / "program.c", "-o", folder / "program", *flags, rpath)
    return folder / "program"


def compiled(folder: Path, prefix: Path, name: str) -> Path:
    """A program of ``tests/c`` with the shared library."""
    library = [f"-L{prefix / 'lib'}", "-lsparsebp", "-lpthread", f"-Wl,-rpath,{prefix / 'lib'}"]
    run("cc", *STRICT, f"-I{prefix / 'include'}", PROGRAMS / f"{name}.c", "-o", folder / name, *library)
    return folder / name


def test_the_library_is_small_and_shows_the_c_api_only_under_a_version(installed: Path) -> None:
    library = installed / "lib" / "libsparsebp.so"
    assert library.stat().st_size < 2_621_440  # 2.5 MB
    names = {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    names.discard("SPARSEBP_1")
    header = (installed / "include" / "sparsebp" / "sparsebp.h").read_text()
    declared = {name for name in header.replace("(", " ").split() if name.startswith("sbp_") and f" {name}(" in header}
    assert names == {f"{name}@@SPARSEBP_1" for name in declared}
    assert "libtorch" not in library.read_bytes().decode("latin1")


@pytest.mark.parametrize("way", WAYS)
def test_a_c_program_trains_the_bits_of_a_session(tmp_path: Path, installed: Path, way: str) -> None:
    program = built(tmp_path, installed, way)
    files, images, labels = export(tmp_path, 10)
    session = Session(files[0])
    expected = [session.train(images[i : i + 1], labels[i : i + 1]).loss for i in range(10)]
    expected += session.predict(images[:1])[0].tolist()
    session.save(tmp_path / "saved")
    for memory in ([], ["caller"]):
        said = [float.fromhex(line) for line in run(program, *files, tmp_path / "after", *memory).split()]
        assert said == expected
        apply_delta(files[0], tmp_path / "after.made", tmp_path / "made")
        for name in ("after", "after.joined", "made"):
            assert (tmp_path / name).read_bytes() == (tmp_path / "saved").read_bytes()


def test_a_c_program_keeps_features_and_learns_a_new_class(tmp_path: Path, installed: Path) -> None:
    program = compiled(tmp_path, installed, "new_class")
    (plan, pictures, labels), images, known = export(tmp_path, 10, spare=2)
    known[7:] = 8  # the first of the spare ones
    labels.write_bytes(known.astype(np.uint8).tobytes())
    session = Session(plan)
    features = session.features(images)
    expected = [session.train_features(features[i : i + 1], known[i : i + 1]).loss for i in range(7)]
    session.add_class("a new one")
    expected += [session.train(images[i : i + 1], known[i : i + 1]).loss for i in range(7, 10)]
    expected += session.predict(images[:1])[0].tolist()
    said = run(program, plan, pictures, labels, "a new one", tmp_path / "out").splitlines()
    assert [float.fromhex(line) for line in said[:-9]] == expected
    assert said[-9:] == session.classes
    session.save(tmp_path / "saved")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "saved").read_bytes()
    apply_delta(plan, tmp_path / "out.delta", tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "saved").read_bytes()


def test_two_sessions_in_two_threads_give_the_bits_that_they_give_alone(tmp_path: Path, installed: Path) -> None:
    program = compiled(tmp_path, installed, "two_sessions")
    files, images, labels = export(tmp_path, 20, side=48)
    *losses, tasks = run(program, *files, "10").split()
    for first in (0, 10):
        session = Session(files[0])
        alone = [session.train(images[i : i + 1], labels[i : i + 1]).loss for i in range(first, first + 10)]
        assert [float.fromhex(loss) for loss in losses[first : first + 10]] == alone
    assert int(tasks) > 0  # the host's own threads did it


def test_two_machines_in_c_train_the_same_rows_and_take_their_mean(tmp_path: Path, installed: Path) -> None:
    program = compiled(tmp_path, installed, "two_machines")
    files, images, labels = export(tmp_path, 8, ratio=0.2)
    machines = [Session(files[0]), Session(files[0])]
    losses = []
    for i, session in enumerate(machines):
        session.hold(11)
        mine = range(4 * i, 4 * i + 4)
        losses += [session.train(images[j : j + 1], labels[j : j + 1]).loss for j in mine]
    said = run(program, *files, "11", tmp_path / "out").split()
    assert [float.fromhex(loss) for loss in said] == losses
    first, second = (session.get_trainable() for session in machines)
    machines[0].set_trainable((first + second) / np.float32(2))
    machines[0].save(tmp_path / "saved")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "saved").read_bytes()


def test_a_program_that_opens_no_plan_is_told_why(tmp_path: Path, installed: Path) -> None:
    program = built(tmp_path, installed, "pkg-config, shared")
    (tmp_path / "none").write_bytes(bytes(64))
    done = subprocess.run([program, tmp_path / "none", "a", "b", "c"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "header" in done.stderr
