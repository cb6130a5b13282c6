"""CUDA's compiler for this machine with headers and static runtime of 64-bit ARM, and a host compiler that it accepts.

The compiler that builds the other wheels brings a C++ library that nvcc cannot read. GCC 10 of Debian 11 brings one
that it can, and the C library 2.31, older than any Orin's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import debian

VERSION = "13.0.*"
HERE = ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm")
"""What runs on this machine; the runtime, headers and all, is the board's."""
GCC = (
    *("g++-10-aarch64-linux-gnu", "gcc-10-aarch64-linux-gnu", "cpp-10-aarch64-linux-gnu", "binutils-aarch64-linux-gnu"),
    *("libc6-dev-arm64-cross", "libc6-arm64-cross", "linux-libc-dev-arm64-cross"),
    *("libstdc++-10-dev-arm64-cross", "libstdc++6-arm64-cross", "libgcc-10-dev-arm64-cross", "libgcc-s1-arm64-cross"),
    *("libgmp10", "libmpfr6", "libmpc3", "libisl23"),
)
"""Without what every Linux has: this machine's C library is not to be mixed with another."""
GPU = "87-real"
"""Jetson Orin."""


LINKER_FLAGS = "-static-libstdc++ -static-libgcc"
"""As in the other wheels: a board's C++ library may be older."""


def toolchain(cache: Path) -> dict[str, object]:
    """What CMake has to know to compile for boards with a GPU; fetched into ``cache`` if it is not there yet."""
    toolkit = cache / "cuda"
    if not (toolkit / ".complete").exists():
        _install(toolkit, [f"{name}=={VERSION}" for name in HERE])
        board = ["--platform", "manylinux2014_aarch64", "--only-binary", ":all:"]
        # In a folder of its own first: pip would put its nvidia in the place of the other.
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _install(Path(folder), [f"nvidia-cuda-runtime=={VERSION}", *board])
            shutil.copytree(folder, toolkit, dirs_exist_ok=True)
        (_root(toolkit) / "lib64").symlink_to("lib")  # where nvcc looks
        (toolkit / ".complete").touch()
        print(f"{toolkit}: installed CUDA {VERSION} from PyPI, its compiler for this machine, its runtime for ARM")
    debian.unpack(cache / "gcc", list(GCC), "amd64", "bullseye", dependencies=False)
    compiler = Path(__file__).parent / "bin/aarch64-linux-gnu-g++"
    return {
        "CMAKE_CXX_COMPILER": compiler,
        "CMAKE_CUDA_HOST_COMPILER": compiler,
        "CMAKE_CUDA_COMPILER": _root(toolkit) / "bin/nvcc",
        "CMAKE_CUDA_ARCHITECTURES": GPU,
        "SPARSEBP_CUDA": "ON",
    }


def _root(toolkit: Path) -> Path:
    (root,) = toolkit.glob("nvidia/cu*")
    return root


def _install(folder: Path, arguments: list[str]) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", folder]
    subprocess.run([*pip, *arguments], check=True)
