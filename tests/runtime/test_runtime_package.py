"""The package sparsebp_runtime is whole without sparsebp, torch and Pillow, and trains the bits of sparsebp.runtime."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sparsebp
from board_runs import write_plan
from sparsebp.runtime import Session

SOURCE = Path(sparsebp.__file__).parent
ROOT = Path(__file__).parents[2]
LIST = (ROOT / "cmake" / "runtime_package.cmake").read_text()
EXCLUDED = set(re.findall(r"PATTERN (\w+\.py) EXCLUDE", LIST))
MODULES = re.search(r"foreach\(name (.*)\)", LIST)[1].split()  # type: ignore[index]
FOLDERS = re.findall(r"install\(DIRECTORY \$\{package\}/(\w+)", LIST)

#: What runs there: arguments are the plan file and where to write.
PROGRAM = """
import importlib.util, sys
for name in ("torch", "PIL", "safetensors", "typer", "rich", "sparsebp"):
    sys.modules[name] = None
import numpy as np
import sparsebp_runtime
import sparsebp_runtime.federated
from sparsebp_runtime.runtime.command import main
session = sparsebp_runtime.Session(sys.argv[1])
noise = np.random.default_rng(0)
for _ in range(3):
    session.train(noise.integers(0, 256, (4, 16, 16, 3), np.uint8), [0, 1, 2, 3])
session.save(sys.argv[2])
try:
    sparsebp_runtime.Session("/dev/null")
except sparsebp_runtime.PlanFileError:
    main(["info", sys.argv[2]])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel installs, with the native module of this package."""
    site = tmp_path_factory.mktemp("site")
    package = site / "sparsebp_runtime"
    shutil.copytree(ROOT / "python" / "sparsebp-runtime" / "sparsebp_runtime", package)
    for name in MODULES:
        shutil.copy(SOURCE / f"{name}.py", package)
    for folder in FOLDERS:
        shutil.copytree(SOURCE / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__", *EXCLUDED))
    (native,) = SOURCE.glob("_C.*.so")
    (package / native.name).symlink_to(native)
    return site


def test_it_trains_alone_with_the_bits_of_the_whole_package(site: Path, tmp_path: Path) -> None:
    plan, saved, wanted = (tmp_path / name for name in ("plan", "saved", "wanted"))
    write_plan(plan)
    command = [sys.executable, "-c", PROGRAM, str(plan), str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(site), "PATH": ""})
    assert done.returncode == 0, done.stderr
    assert "blue, green, grey, red" in done.stdout
    session, noise = Session(plan), np.random.default_rng(0)
    for _ in range(3):
        session.train(noise.integers(0, 256, (4, 16, 16, 3), np.uint8), [0, 1, 2, 3])
    session.save(wanted)
    assert saved.read_bytes() == wanted.read_bytes()


def test_its_native_module_has_all_that_its_files_use() -> None:
    """The module of that wheel has fewer names than this package's."""
    used: set[str] = set()
    for folder in FOLDERS:
        for file in (SOURCE / folder).rglob("*.py"):
            if file.name not in EXCLUDED:
                used |= set(re.findall(r"\b_C\.(\w+)", file.read_text()))
    bindings = [ROOT / "csrc" / "bindings" / name for name in ("runtime_module.cpp", "sessions.cpp")]
    there = {name for file in bindings for name in re.findall(r'\(m, "(\w+)"|m\.def\(\s*"(\w+)"', file.read_text())}
    assert used
    assert used <= {name for pair in there for name in pair}


def test_both_packages_have_one_version() -> None:
    project = (ROOT / "python" / "sparsebp-runtime" / "pyproject.toml").read_text()
    assert 'metadata.version.input = "../sparsebp/version.py"' in project
