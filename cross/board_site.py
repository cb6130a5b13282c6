"""Installs wheels for another machine into a folder: `python cross/board_site.py FOLDER --arch aarch64 numpy`.

What follows the folder goes to pip.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from targets import TARGETS

C_LIBRARIES = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""Newest first: pip takes a wheel that any of them fits."""


def install(folder: Path, arch: str, version: str, wanted: Sequence[str | Path]) -> int:
    """Installs ``wanted`` without looking for dependencies; returns pip's exit code."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--only-binary=:all:"]
    pip += ["--target", folder]
    if TARGETS[arch].crossed:  # else it is this machine, whose pip knows what fits
        pip += ["--python-version", version]
        pip += [f"--platform={library}_{TARGETS[arch].platform}" for library in C_LIBRARIES]
    return subprocess.run([*pip, *wanted]).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arch", choices=TARGETS, required=True, help="the processor")
    parser.add_argument("--python", default=here, metavar="X.Y", help=f"its Python (default: {here})")
    args, wanted = parser.parse_known_args()
    sys.exit(install(args.folder, args.arch, args.python, wanted))


if __name__ == "__main__":
    main()
