"""Weights that a command is given as the folder of a run: one that has not ended, and what else a run decides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from runs import RUN, Run, here, interrupt, run
from sparsebp.cli.errors import Exit

__all__ = ["here", "run"]  # fixtures


def test_a_run_that_has_not_ended_is_said_to_be_one(run: Run, here: Path) -> None:
    interrupt(here / "run", "stepped", 2, data=here / "pictures", origin={"model": "sparsebp.models:mobilenet_v2"})
    said = "run: this run has not ended, and checkpoint-000002 is taken; sparsebp finetune --resume --out run goes on\n"
    for command in (["evaluate", "--data", "pictures"], ["predict", "pictures"], ["export", "--out", "plan"]):
        _, _, err = run(*command, "--weights", "run")
        assert err.startswith(said), err


def test_export_takes_a_run_s_weights_at_the_size_that_they_were_trained_with(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    small = ["--model", "tiny:tiny", "--budget", "32KB", "--max-update-ratio", "1", "--out", "plan.safetensors"]
    for options, size in (([], "16x16"), (["--input-size", "24"], "24x24")):
        code, out, err = run("export", "--weights", "run", *small, *options)
        assert (code, err) == (Exit.OK, "")
        assert re.search(rf"^input +{size},", out, re.MULTILINE)
        assert re.search(r"^classes +4: blue, green, grey, red$", out, re.MULTILINE)


ENDLESS: list[tuple[list[str], str]] = [
    (["--epochs", "2"], "--epochs: it wants --examples beside it"),
    (["--examples", "9"], "--examples: it wants --epochs beside it"),
    (["--schedule", "linear"], "--schedule linear: it has to know where the run ends; give --epochs and --examples"),
    (["--warmup", "0.1"], "--warmup: it has to know where the run ends; give --epochs and --examples"),
]


@pytest.mark.parametrize(("options", "reason"), ENDLESS, ids=[options[0] for options, _ in ENDLESS])
@pytest.mark.parametrize("of", [["run"], ["--weights", "weights.pt", "--classes", "10"]], ids=["run", "weights"])
def test_a_schedule_without_an_end_is_told_the_options_that_say_it(
    of: list[str], options: list[str], reason: str, run: Run, here: Path
) -> None:
    code, _, err = run("export", *of, *options, "--out", "plan.safetensors")
    assert (code, err.startswith(f"sparsebp: error: {reason}")) == (Exit.USAGE, True), err


def test_a_file_where_a_run_is_expected_is_told_its_place(run: Run, here: Path) -> None:
    code, _, err = run("export", "weights.pt", "--out", "plan.safetensors")
    assert code == Exit.USAGE
    expected = "RUN: expected the folder of a run, weights.pt is a file; --weights weights.pt takes it"
    assert err.startswith(f"sparsebp: error: {expected}")
