"""The command and the example under torchrun, as people start them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sparsebp
import torch
from runs import RUN, Run, here, left_behind, run
from sparsebp.cli.errors import Exit

__all__ = ["here", "run"]  # fixtures

ROOT = Path(__file__).parents[2]
SECONDS = 240
RATES = ["--lr", "0.01", "--bias-lr", "0.01", "--classifier-lr", "0.01"]


def torchrun(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    paths = os.pathsep.join([str(Path(sparsebp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "LOGLEVEL": "ERROR"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS)


def test_the_command_trains_what_one_process_trains(run: Run, here: Path) -> None:
    """And one rank alone speaks."""
    options = [*RUN, *RATES, "--budget", "64KB", "--epochs", "2", "--no-normalise"]
    assert run(*options, "--gradients", "sum", "--out", "alone")[0] == Exit.OK
    made = torchrun("-m", "sparsebp", *options, "--out", "together", cwd=here)
    assert made.returncode == 0, made.stderr
    said = [line for line in made.stdout.splitlines() if line.startswith(("model", "epoch", "ranks", "exchanged"))]
    assert [line.split()[0] for line in said] == ["model", "ranks", "epoch", "epoch", "exchanged:"], "each line once"
    assert "gradients sum" in made.stdout

    alone, together = left_behind(here / "alone"), left_behind(here / "together")
    for name in ("training: arena.indices", "training: arena.visited", "state: position", "state: counters"):
        assert together[name] == alone[name], name
    reports = [json.loads(found["report.json"]) for found in (together, alone)]
    exchanged, dense = reports[0].pop("exchanged"), sum(p.numel() * 4 for p in _network(here).parameters())
    assert exchanged["ranks"] == 2
    assert exchanged["dense"] == dense
    assert 0 < exchanged["exchanged"] == exchanged["sent"] <= exchanged["steps"] * exchanged["step"]
    assert f"each of 2 ranks sent {sparsebp.units.format_bytes(exchanged['sent'])}" in made.stdout
    assert reports[0].keys() == reports[1].keys()
    assert reports[0]["memory"]["measured"] == reports[1]["memory"]["measured"] == reports[0]["memory"]["predicted"]


def test_what_is_wrong_is_said_once(here: Path) -> None:
    made = torchrun("-m", "sparsebp", *RUN, "--gradients", "in_place", "--out", "refused", cwd=here)
    said = re.findall("sparsebp: error: .*", made.stderr)
    assert len(said) == 1, made.stderr
    assert "--gradients: in_place updates weights before other ranks' gradients are known" in said[0]
    assert not (here / "refused").exists()


def test_the_example_trains_on_two_ranks(data_root: Path, tmp_path: Path) -> None:
    """ImageNet's MobileNetV2, a few pictures of ants and bees."""
    weights = data_root / "mobilenet_v2_imagenet.pt"
    few = _few(data_root / "ants_bees", tmp_path / "pictures", 10)
    example = str(ROOT / "examples" / "data_parallel.py")
    made = torchrun(example, str(few), str(weights), "--size", "64", "--epochs", "1", "--batch", "6", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    sent, share = re.search(r"exchanges ([\d,]+) bytes, ([\d.]+)%", made.stdout).groups()
    assert float(share) < 5
    peak, budget = re.search(r"memory: ([\d,]+) of ([\d,]+)", made.stdout).groups()
    assert 0 < int(sent.replace(",", "")) < int(peak.replace(",", "")) <= int(budget.replace(",", ""))
    trained = torch.load(tmp_path / "trained.pt", weights_only=True)
    sparsebp.models.mobilenet_v2(2).load_state_dict(trained)


def _network(here: Path) -> torch.nn.Module:
    sys.path.insert(0, str(here))
    try:
        return pytest.importorskip("tiny", reason="the fixture writes it").tiny(4)
    finally:
        sys.path.remove(str(here))
        sys.modules.pop("tiny", None)


def _few(folder: Path, other: Path, each: int) -> Path:
    """A folder with so many pictures of each class of another one."""
    for kind in sorted((folder / "train").iterdir()):
        (other / kind.name).mkdir(parents=True)
        for file in sorted(kind.iterdir())[:each]:
            (other / kind.name / file.name).symlink_to(file)
    return other
