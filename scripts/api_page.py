"""Writes docs/api.md, the list of public names: python scripts/api_page.py.

A name's line is the first sentence of its docstring. In the site the whole docstrings stand behind each table, which
scripts/docs_site.py sees to.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
PACKAGE = "sparsebp"
ROLE = re.compile(r":[a-z]+:`[~.]?([^`]+)`")
MODULES = (
    *("optim", "nn", "functional", "models", "samplers", "data", "runtime", "finetuning"),
    *("distributed", "federated"),
)
#: Folders whose modules import what need not be installed: they are read, not imported.
READ = ("federated.flower",)
HEAD = """\
# API

Every public name and the first sentence of its docstring. `make docs` builds a page with all of it:
arguments, shapes, types, defaults and errors, in `build/docs/docs/api.html`. In Python
`help(sparsebp.convert)` says the same.

This page is written by `python scripts/api_page.py`.
"""


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    modules = [PACKAGE, *(f"{PACKAGE}.{name}" for name in MODULES)]
    return HEAD + "".join(section(importlib.import_module(name)) for name in modules) + "".join(map(read_section, READ))


def section(module: ModuleType) -> str:
    about = "" if module.__name__ == PACKAGE else f"\n{sentence(module.__doc__)}\n"
    rows = "".join(f"| `{name}` | {sentence(documentation(module, name))} |\n" for name, _ in public(module))
    return f"\n## {module.__name__}\n{about}\n| name | what it is |\n|---|---|\n{rows}"


def read_section(name: str) -> str:
    """The section of a folder's module, from the texts of its files."""
    folder = PAGE.parents[1] / "python" / PACKAGE / name.replace(".", "/")
    about, docs = ast.parse((folder / "__init__.py").read_text()), docstrings(folder)
    (names,) = (ast.literal_eval(line.value) for line in about.body if _assigns(line, "__all__"))
    rows = "".join(f"| `{one}` | {sentence(docs[one])} |\n" for one in names)
    title = f"\n## {PACKAGE}.{name}\n\n{sentence(ast.get_docstring(about))}\n"
    return f"{title}\n| name | what it is |\n|---|---|\n{rows}"


def docstrings(folder: Path) -> dict[str, str | None]:
    """Of the classes and functions of a folder's files, and of ``Class.method``."""
    found: dict[str, str | None] = {}
    for file in sorted(folder.glob("*.py")):
        for line in ast.parse(file.read_text()).body:
            if isinstance(line, (ast.ClassDef, ast.FunctionDef)):
                found[line.name] = ast.get_docstring(line)
            for inner in line.body if isinstance(line, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef):
                    found[f"{line.name}.{inner.name}"] = ast.get_docstring(inner)
    return found


def _assigns(line: ast.stmt, name: str) -> bool:
    return isinstance(line, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in line.targets)


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The names that a module is imported for, and what they stand for; modules have sections of their own."""
    for name in module.__all__:
        found = getattr(module, name)
        if not inspect.ismodule(found) and not name.startswith("__"):
            yield name, found


def documentation(module: ModuleType, name: str) -> str | None:
    """The docstring of a class or function; of a constant the string that stands behind it."""
    found = getattr(module, name)
    if callable(found) and not isinstance(found, type(tuple[int])):
        return inspect.getdoc(found)
    folder = Path(module.__file__ or "").parent
    for file in sorted(folder.rglob("*.py")):
        lines = ast.parse(file.read_text()).body if name in file.read_text() else []
        for line, below in itertools.pairwise(lines):
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            is_said = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if is_said and any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return str(below.value.value)
    return None


def sentence(text: str | None) -> str:
    """The first sentence, as Markdown on one line."""
    first = " ".join((text or "").split("\n\n")[0].split())
    first = ROLE.sub(r"`\1`", first).replace("``", "`").replace("|", "\\|")
    return re.split(r"(?<=[a-z0-9)`\]])\. (?=[A-Z`])", first)[0].rstrip(".:") + "."


if __name__ == "__main__":
    main()
