"""docs/api.md lists every public name, and each has a docstring."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

#: What data sets need of a source: the protocol says what each method does, not the classes that have them.
DESCRIBED = {"name", "picture", "fingerprint"}
SCRIPT = Path(__file__).parents[2] / "scripts" / "api_page.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_docstrings_say(script: ModuleType) -> None:
    assert script.PAGE.read_text() == script.page(), "write it anew: python scripts/api_page.py"


def test_every_public_name_and_what_it_offers_has_a_docstring(script: ModuleType) -> None:
    modules = [script.PACKAGE, *(f"{script.PACKAGE}.{name}" for name in script.MODULES)]
    lacking = []
    for module in map(importlib.import_module, modules):
        for name, found in script.public(module):
            if not script.documentation(module, name):
                lacking.append(f"{module.__name__}.{name}")
            for member, value in vars(found).items() if inspect.isclass(found) else ():
                offers = inspect.isroutine(value) or isinstance(value, (property, classmethod, staticmethod))
                if member in DESCRIBED and module.__name__ == "sparsebp.data":
                    continue
                if offers and not member.startswith("_") and not inspect.getdoc(getattr(found, member)):
                    lacking.append(f"{module.__name__}.{name}.{member}")
    assert lacking == []


def test_what_is_read_and_not_imported_has_docstrings_too(script: ModuleType) -> None:
    for name in script.READ:
        found = script.docstrings(SCRIPT.parents[1] / "python" / script.PACKAGE / name.replace(".", "/"))
        assert found
        assert [one for one, text in found.items() if not text and "_" not in (one[0], one.split(".")[-1][0])] == []
