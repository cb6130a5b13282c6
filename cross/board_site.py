"""Installs wheels for 64-bit ARM and Python 3.11 into a folder: `python cross/board_site.py FOLDER pip's arguments`."""

from __future__ import annotations

import subprocess
import sys

# Newest first: pip takes a wheel that any of them fits.
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def main() -> None:
    folder, *wanted = sys.argv[1:]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--only-binary=:all:"]
    pip += ["--python-version", "3.11", "--target", folder]
    pip += [f"--platform={platform}" for platform in PLATFORMS]
    sys.exit(subprocess.run([*pip, *wanted]).returncode)


if __name__ == "__main__":
    main()
