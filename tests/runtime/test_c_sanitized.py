"""C programs on a library whose every access sanitizers watch: a finding ends the program with another status."""

from __future__ import annotations

from pathlib import Path

from c_library import PROGRAMS, STRICT, export, install, run

# Unoptimised and with the scalar kernels alone, which takes a fraction of the time to build: `make fuzz` watches the others.
BUILD = ["-DCMAKE_BUILD_TYPE=None", "-DCMAKE_POSITION_INDEPENDENT_CODE=ON", "-DSPARSEBP_ISAS="]


def program(folder: Path, source: str, *sanitize: str) -> Path:
    flags = " ".join(["-O0", "-g1", *sanitize])
    prefix = install(folder, *BUILD, f"-DCMAKE_CXX_FLAGS={flags}", f"-DCMAKE_C_FLAGS={flags}")
    libraries = [prefix / "lib" / "libsparsebp.a", "-lstdc++", "-lpthread", "-lm"]
    run(
        "cc",
        *STRICT,
        *flags.split(),
        f"-I{prefix / 'include'}",
        PROGRAMS / source,
        "-o",
        folder / "program",
        *libraries,
    )
    return folder / "program"


def test_a_program_that_trains_and_saves_has_no_finding_of_address_and_undefined_behaviour(tmp_path: Path) -> None:
    train = program(tmp_path, "train.c", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    files, _, _ = export(tmp_path, 4)
    for memory in ([], ["caller"]):
        run(train, *files, tmp_path / "after", *memory)


def test_two_sessions_in_two_threads_have_no_race(tmp_path: Path) -> None:
    two = program(tmp_path, "two_sessions.c", "-fsanitize=thread")
    files, _, _ = export(tmp_path, 6, side=48)
    run(two, *files, "3")
