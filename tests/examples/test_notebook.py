"""The notebook of the docs: it runs from top to bottom, and shows what it would show now."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn, which brings the digits, is not installed")
pytest.importorskip("matplotlib", reason="matplotlib, which draws them, is not installed")

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "first_steps.ipynb"
MOST_BYTES = 300_000


def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "scripts" / "run_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(notebook: dict[str, Any]) -> list[list[str]]:
    """For each code cell what it says and draws; without numbers, which a processor may round otherwise."""
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            texts = ["".join(output.get("text", ["a picture or a value"])) for output in cell["outputs"]]
            found.append([re.sub(r"[\d.,]+", "0", text) for text in texts])
    return found


def accuracies(notebook: dict[str, Any]) -> list[float]:
    said = "".join("".join(o.get("text", [])) for c in notebook["cells"] for o in c.get("outputs", []))
    return [float(percent) for percent in re.findall(r"([\d.]+)%(?= of the test|\n)", said)]


def test_it_runs_and_its_outputs_are_those_of_this_version() -> None:
    committed = json.loads(NOTEBOOK.read_text())
    made = runner().run(committed)
    assert shown(made) == shown(committed)
    before, *_, after = accuracies(made)
    assert (before, after) == pytest.approx((accuracies(committed)[0], accuracies(committed)[-1]), abs=2)
    assert after > before + 40


def test_it_is_small_and_its_links_lead_somewhere() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < MOST_BYTES
    links = re.findall(r"\]\(([^)#]+)\)", "".join("".join(c["source"]) for c in json.loads(text)["cells"]))
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


def test_a_cell_that_fails_is_named() -> None:
    cells = [{"cell_type": "code", "source": [line]} for line in ("a = 1", "a / 0")]
    with pytest.raises(RuntimeError, match=r"^cell 2 failed: ZeroDivisionError: division by zero"):
        runner().run({"cells": cells})


def test_the_last_expression_of_a_cell_is_shown() -> None:
    made = runner().run({"cells": [{"cell_type": "code", "source": ["print('said')\n", "1 + 1"]}]})
    said, value = made["cells"][0]["outputs"]
    assert said == {"output_type": "stream", "name": "stdout", "text": ["said\n"]}
    assert value["data"] == {"text/plain": ["2"]}
