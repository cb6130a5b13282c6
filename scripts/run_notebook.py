"""Runs a notebook from top to bottom, and writes what its cells say and draw into it.

    python scripts/run_notebook.py docs/first_steps.ipynb

It stands in for Jupyter where there is none: cells are plain Python, their last expression is shown, figures of
matplotlib are drawn at the end of the cell that made them. A cell that fails ends it, and the file stays as it was.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import matplotlib
import typer

_PIXELS_PER_INCH = 72
"""Enough to read on a page; a notebook holds its pictures as text."""


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its cells.

    Raises:
        RuntimeError: a cell failed; its error is the cause.
    """
    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            cells.append(cell)
            continue
        count += 1
        try:
            outputs = _run_cell("".join(cell["source"]), names, count)
        except Exception as error:
            raise RuntimeError(f"cell {count} failed: {type(error).__name__}: {error}") from error
        cells.append({**cell, "execution_count": count, "outputs": outputs})
    return {**notebook, "cells": cells}


def _run_cell(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Runs a cell in ``names``; what it printed, drew and ended in, as notebooks note it."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"<cell {count}>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"<cell {count}>", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    outputs += [{"output_type": "display_data", "metadata": {}, "data": {"image/png": png}} for png in _figures()]
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    return outputs


def _figures() -> list[str]:
    """The open figures, which are closed, as PNG in base64."""
    from matplotlib import pyplot

    found = []
    for number in pyplot.get_fignums():
        drawn = io.BytesIO()
        pyplot.figure(number).savefig(drawn, format="png", dpi=_PIXELS_PER_INCH, bbox_inches="tight")
        found.append(base64.b64encode(drawn.getvalue()).decode())
    pyplot.close("all")
    return found


def main(file: Path) -> None:
    made = run(json.loads(file.read_text()))
    file.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    typer.run(main)
