"""What a plan file holds, or what this machine computes with."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ... import _C
from ...data.pictures import has_pillow
from ...version import __version__
from ..session import Session
from .output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", type=Path, nargs="?", metavar="PLAN", help="a plan file; without one: this machine")
    parser.add_argument("--json", action="store_true", help="as JSON, with every layer of the plan")


def run(given: argparse.Namespace) -> int:
    facts = _machine() if given.plan is None else _plan(Session(given.plan), given.json)
    if given.json:
        print(json.dumps(facts, indent=1))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            say(f"{name:{width}}  {_words(value)}")
    return 0


def _machine() -> dict[str, Any]:
    return {
        "sparsebp-runtime": __version__,
        "python": f"{platform.python_version()}, numpy {np.__version__}",
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors",
        "kernels": _C.chosen_isa(),
        "pictures": "Pillow" if has_pillow() else "PPM, PGM and .npy; Pillow reads the others: pip install pillow",
        "path": str(Path(sys.modules[__package__.rpartition(".")[0]].__file__ or "").parent),
    }


def _plan(session: Session, whole: bool) -> dict[str, Any]:
    sizes, plan, at = session.sizes, session.plan, session.progress
    trained = [layer for layer in plan["layers"] if layer["selected"]]
    facts: dict[str, Any] = {
        "classes": list(session.classes or [f"{sizes.classes} without names"]),
        "spare classes": sizes.outputs - sizes.classes,
        "pictures": f"{sizes.width} x {sizes.height}, {sizes.channels} channels",
        "step": f"{sizes.batch} pictures, {sizes.micro_batch} at once",
        "budget": sizes.budget_bytes,
        "a step needs" if sizes.whole_step else "training needs": sizes.arena_bytes,
        **({} if sizes.whole_step else {"inference needs": sizes.workspace_bytes}),
        "file": sizes.file_bytes,
        "trained": f"{len(trained)} layers from {trained[0]['name']} on" if trained else "no layer",
        "seen": f"{at.batches} steps, {100 * session.coverage():.1f} % of the trained layers' weights",
    }
    return {**facts, "plan": plan} if whole else facts


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,} bytes" if isinstance(value, int) and value > 9999 else str(value)
