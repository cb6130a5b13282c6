"""``sparsebp export`` of runs that balance their classes, which what trains a plan file does not."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from runs import Run, finetune, here, interrupt, network, run, uneven
from sparsebp.cli.errors import Exit
from sparsebp.finetuning.export_run import export_run
from sparsebp.runtime import Session

__all__ = ["here", "run"]  # fixtures


@pytest.mark.parametrize("balance", ["loss", "sampling"])
def test_the_rest_of_an_interrupted_run_learns_without_only_if_that_is_asked_for(balance: str, tmp_path: Path) -> None:
    interrupt(tmp_path / "run", "stepped", 2, data=uneven(), balance=balance)
    plan = tmp_path / "plan.safetensors"
    with pytest.raises(ValueError, match=f"balance: the run is interrupted and learns with {balance}, .* give none"):
        export_run(tmp_path / "run", plan, model=network())
    assert not plan.exists()
    with pytest.raises(ValueError, match="balance: expected none, got 'loss'"):
        export_run(tmp_path / "run", plan, model=network(), balance="loss")
    export_run(tmp_path / "run", plan, model=network(), balance="none")
    assert Session(plan).progress.batches == 2


def test_the_command_says_it_of_both(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(here)
    tiny = import_module("tiny").tiny
    begun: dict[str, Any] = {"data": uneven(), "balance": "loss", "origin": {"model": "tiny:tiny"}}
    interrupt(here / "half", "stepped", 2, model=tiny(4), **begun)
    finetune(here / "whole", model=tiny(4), epochs=1, **begun)
    code, _, err = run("export", "half", "--out", "plan.safetensors")
    assert (code, err.startswith("sparsebp: error: --balance: the run is interrupted and")) == (Exit.USAGE, True)
    for options in (["half", "--balance", "none"], ["whole"]):
        code, out, err = run("export", *options, "--out", "plan.safetensors")
        assert (code, err) == (Exit.OK, "")
        assert re.search(r"^balance +none from here on; the run had loss$", out, re.MULTILINE)
