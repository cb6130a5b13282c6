"""The headers of a Python that this machine need not have.

Python's headers are the same for every 64-bit Linux, but for `pyconfig.h`, whose answers do not differ between x86-64
and ARM where an extension module looks. On 32 bits they do: Debian has headers of its own for those.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from hashlib import sha256
from pathlib import Path

import debian

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
DEBIAN = {"3.11": "bookworm", "3.13": "trixie"}
WITH_32_BITS = ("armhf",)
UBUNTU = {
    "3.10": ("3.10.4-3", "89246f12cdfb1fac7675bc94d5cc8b9c72320f152e855197668305c73c8588ec"),
    "3.12": ("3.12.3-1", "f5924a06298ae0689128498276d3a555e02615a4ecfa8f4417d679a097586f35"),
}
"""What no release of Debian has: the package's version in Ubuntu 22.04 and 24.04, and its SHA-256."""


def find(version: str, cache: Path, architecture: str) -> Path:
    """A folder in ``cache`` with the headers of Python ``version`` ("3.12"): this Python's, or those of a package.

    ``architecture`` is Debian's name of it.
    """
    with_32_bits = architecture in WITH_32_BITS
    known = tuple(DEBIAN) if with_32_bits else VERSIONS
    if version not in known:
        raise SystemExit(f"--python: expected one of {', '.join(known)} for {architecture}, got {version}")
    folder = cache / (f"python-{version}-{architecture}" if with_32_bits else f"python-{version}")
    if (folder / "pyconfig.h").exists():
        return folder
    if version == _own_version() and not with_32_bits and (_own() / "Python.h").exists():
        _copy(_own(), folder)
        return folder
    with tempfile.TemporaryDirectory(dir=cache) as name:
        root = Path(name)
        if version in DEBIAN:
            debian.unpack(root, [f"libpython{version}-dev"], architecture, DEBIAN[version], dependencies=False)
        else:
            _unpack_ubuntu(version, root)
        _copy(root / "usr/include" / f"python{version}", folder)
    print(f"{folder}: the headers of Python {version}")
    return folder


def _own_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _own() -> Path:
    return Path(sysconfig.get_path("include"))


def _copy(include: Path, folder: Path) -> None:
    """Debian's own Pythons keep the real pyconfig.h in a folder of the architecture, named from the usual one."""
    real = next(include.parent.glob(f"*-linux-gnu*/{include.name}/pyconfig.h"), include / "pyconfig.h")
    shutil.copytree(include, folder, dirs_exist_ok=True)
    shutil.copy(real, folder / "pyconfig.h")


def _unpack_ubuntu(version: str, folder: Path) -> None:
    package, digest = UBUNTU[version]
    name = f"libpython{version}-dev_{package}_amd64.deb"
    address = f"http://archive.ubuntu.com/ubuntu/pool/main/p/python{version}/{name}"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            data = answer.read()
    except OSError as error:
        raise SystemExit(f"{address}: {error}; or run this with a Python {version}, whose own headers do") from error
    if sha256(data).hexdigest() != digest:
        raise SystemExit(f"{address}: expected the SHA-256 {digest}, got {sha256(data).hexdigest()}")
    (folder / name).write_bytes(data)
    subprocess.run(["dpkg-deb", "--extract", folder / name, folder], check=True)
