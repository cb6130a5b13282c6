"""The rooms of the package: which may import from which, and no circle of imports between any two files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import sparsebp
from arrows import circle, wrong_arrows

PACKAGE = Path(sparsebp.__file__).parent

#: Modules at the top that stand for a room: what people import.
FACES = {"optim": "training", "nn": "training", "functional": "training", "models": "networks", "__main__": "cli"}
#: What every room may use.
BASE = {"_C", "errors", "units", "version", "files", "samplers", "devices", "__init__"}
#: What a room may import from, beside itself and the base.
ARROWS = {
    "base": set(),
    "runtime": {"data"},
    "federated": {"runtime", "data"},
    "data": set(),
    "capture": set(),
    "planning": {"capture"},
    "training": {"planning", "capture", "data"},
    "networks": {"training", "data"},
    "distributed": {"training"},
    "finetuning": {"distributed", "training", "planning", "networks", "data", "runtime"},
    "benchmark": {"training", "planning", "capture"},
    "cli": {"finetuning", "distributed", "benchmark", "training", "planning", "capture", "networks", "data", "runtime"},
}
ALLOWED = {name: others | {"base"} for name, others in ARROWS.items()}
MOST_LINES = 300
MOST_AT_THE_TOP = 12


def room(name: str) -> str:
    top = name.split(".")[0]
    return "base" if top in BASE else FACES.get(top, top)


def modules(package: Path) -> dict[str, Path]:
    """The files of a package by their dotted names in it; a folder's ``__init__`` goes by the folder's name."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(package: Path) -> dict[str, set[str]]:
    """What each module imports of the others, wherever the statement stands, also if only type checkers run it."""
    files = modules(package)
    found = {}
    for name, path in files.items():
        inside = path.relative_to(package).parent.parts
        used = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = [*inside[: len(inside) - node.level + 1], *(node.module or "").split(".")]
                stem = ".".join(filter(None, base))
                for alias in node.names:
                    whole = f"{stem}.{alias.name}".strip(".")
                    used |= {whole if whole in files else stem or "__init__"}
        found[name] = (used & files.keys()) - {name}
    return found


def test_rooms_import_only_what_lies_below_them() -> None:
    assert wrong_arrows(imports(PACKAGE), ALLOWED, room) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(imports(PACKAGE)) == []


def test_files_are_short_and_few_lie_at_the_top() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in modules(PACKAGE).items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Two modules of two rooms, of which the upper imports the lower."""
    for name, text in {"__init__.py": "", "capture/a.py": "", "planning/b.py": "from ..capture import a\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_an_arrow_upwards_is_found(package: Path) -> None:
    assert wrong_arrows(imports(package), ALLOWED, room) == []
    (package / "capture/a.py").write_text("def f():\n    from ..planning.b import a\n")
    assert wrong_arrows(imports(package), ALLOWED, room) == ["capture.a uses planning.b"]
    assert circle(imports(package)) == ["capture.a", "planning.b"]
