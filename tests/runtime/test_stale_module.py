"""A native module that does not go with the Python files is refused in words, and so is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sparsebp


def import_with(native: str | None, statement: str, folder: Path) -> str:
    """What a Python says last that finds a module of this text as the native one."""
    package = folder / "sparsebp"
    package.mkdir()
    for part in Path(sparsebp.__file__).parent.iterdir():
        if not part.name.startswith(("_C.", "__pycache__")):
            (package / part.name).symlink_to(part)
    if native is not None:
        (package / "_C.py").write_text(native)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {statement}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stderr.strip().rpartition("\n")[2]


WORDS = (
    "_C.py: this native module was built from other sources than the Python files beside it, which are sparsebp "
    f"{sparsebp.__version__}; build it anew: pip install ."
)
OWN = f"__version__ = {sparsebp.__version__!r}\n"


@pytest.mark.parametrize("native", ["", "__version__ = '0.0.9'\n"], ids=["before there was one", "another"])
@pytest.mark.parametrize("statement", ["import sparsebp", "from sparsebp.runtime import Session"])
def test_another_version_is_refused(native: str, statement: str, tmp_path: Path) -> None:
    last = import_with(native, statement, tmp_path)
    assert last.startswith("ImportError: ")
    assert last.endswith(WORDS)


@pytest.mark.parametrize(
    "native", [OWN, f"{OWN}class OpKind: pass\nclass Activation: pass\n"], ids=["names", "members"]
)
def test_one_of_this_version_that_lacks_something_is_refused_when_it_is_wanted(native: str, tmp_path: Path) -> None:
    last = import_with(native, "from sparsebp import SparseModel", tmp_path)
    assert last.startswith("ImportError: ")
    assert last.endswith(WORDS)


def test_none_is_said_to_be_missing(tmp_path: Path) -> None:
    last = import_with(None, "import sparsebp", tmp_path)
    assert last.startswith("ImportError: sparsebp: its native module cannot be loaded (cannot import name '_C'")
    assert last.endswith("build it: pip install .")


def test_an_error_of_another_kind_stays_what_it_is(tmp_path: Path) -> None:
    hidden = "sys.modules['torch'] = None; from sparsebp import SparseModel"
    assert import_with(OWN, hidden, tmp_path).startswith("ModuleNotFoundError: import of torch halted")
