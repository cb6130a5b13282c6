"""A plan depends on neither the instruction set nor the number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sparsebp
from networks import residual_network, tiny_mobilenet
from training import (
    converted,
    one_thread,  # noqa: F401
    step,
)


def plans() -> str:
    """A few plans, as JSON."""
    settings = {"input_size": (3, 20, 20), "batch_size": 2, "sampler": "importance"}
    made = [
        sparsebp.plan(make(), budget, **settings)
        for make in (tiny_mobilenet, residual_network)
        for budget in ("24KB", "300KB")
    ]
    return json.dumps([plan.to_dict() for plan in made])


def test_a_plan_does_not_depend_on_instruction_set_or_threads() -> None:
    """A process with the scalar kernels and three threads, against this one."""
    helpers = Path(__file__).parents[1] / "helpers"
    paths = [Path(sparsebp.__file__).parent.parent, Path(__file__).parent, helpers, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "SPARSEBP_ISA": "scalar"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    script = (
        "import test_same_plan_everywhere, torch; torch.set_num_threads(3); print(test_same_plan_everywhere.plans())"
    )
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == plans()


@pytest.mark.parametrize("isa", sparsebp._C.usable_isas())
def test_every_instruction_set_measures_the_same(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = converted(sampler="importance").plan
    monkeypatch.setenv("SPARSEBP_ISA", isa)
    model = converted(sampler="importance")
    step(model, sparsebp.optim.SGD(model, lr=0.05))
    assert model.engine.program.isa == isa
    assert model.arena.peak == model.plan.peak_bytes == default.peak_bytes
    assert model.plan == default
