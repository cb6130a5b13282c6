"""Unpacks packages of Debian, for any architecture, into a folder.

Needs apt-get and dpkg, but neither root nor a change to this machine: apt's state lies beside the folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def unpack(folder: Path, packages: list[str], architecture: str, suite: str, dependencies: bool) -> None:
    """Unpacks ``packages`` into ``folder``; what was unpacked by the same call before is left alone."""
    wanted = sha256(" ".join([suite, architecture, *packages]).encode()).hexdigest()[:16]
    stamp = folder / ".unpacked" / wanted
    if stamp.exists():
        return
    if not KEYRING.exists():
        raise SystemExit(f"{KEYRING} is missing: install the package debian-archive-keyring")
    state = (folder.parent / f".apt-{suite}-{architecture}").resolve()
    for part in ("lists/partial", "archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n")
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "APT::Get::List-Cleanup": "0",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
        "Dir::Etc::sourcelist": state / "sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    for old in (state / "archives").glob("*.deb"):
        old.unlink()
    subprocess.run([*apt, "update"], check=True)
    if dependencies:
        install = ["--no-install-recommends", "--download-only", "--yes", "install", *packages]
        subprocess.run([*apt, *install], check=True, stdout=subprocess.DEVNULL)
    else:
        subprocess.run([*apt, "download", *packages], check=True, cwd=state / "archives", stdout=subprocess.DEVNULL)
    files = sorted((state / "archives").glob("*.deb"))
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        subprocess.run(["dpkg-deb", "--extract", file, folder], check=True)
    stamp.parent.mkdir(exist_ok=True)
    stamp.touch()
    print(f"{folder}: unpacked {len(files)} packages of Debian {suite} for {architecture}: {' '.join(packages)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--arch", default="amd64", help="Debian's name of the architecture (default: amd64)")
    parser.add_argument("--suite", default="bookworm", help="release (default: bookworm)")
    parser.add_argument("--no-dependencies", action="store_true", help="only the packages themselves")
    args = parser.parse_args()
    try:
        unpack(args.folder, args.packages, args.arch, args.suite, not args.no_dependencies)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{os.fspath(error.cmd[0])} failed; see above")
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is missing: this needs a machine with Debian's apt and dpkg")


if __name__ == "__main__":
    main()
