"""Killed at fifty random moments, runs go on from their last checkpoint and end with the bits of undisturbed ones."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runs import TINY, At, assert_finished, assert_same_run, finetune, names, torch_first, uneven, write_pictures
from sparsebp.finetuning import checkpoint

KILLS = 50
EVERY = 2  # steps between two checkpoints
VARIANTS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "momentum": lambda: {"momentum": 0.9, "resample_every": 2, "sampler": "importance"},
    "sums": lambda: {"budget": "1MB", "lr": 0.01, "augment": "crop,flip", "sampler": "cyclic"},
    "torch first": lambda: {"model": torch_first(), "budget": "64KB"},
    "cache": lambda: {"cache": "disk", "schedule": "linear", "warmup": 0.3},
    "kept": lambda: {"keep": "best", "average": 2, "epochs": 3, "balance": "sampling", "data": uneven()},
}


def test_fifty_kills_at_random_moments(tmp_path: Path) -> None:
    """In copies of a process that has imported everything and computed nothing: they take no time to start."""
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    program = f"import test_kills; test_kills.kill_many({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    killed = json.loads(done.stdout)
    assert len(killed) >= KILLS
    for folder in tmp_path.glob("*-[0-9]*"):
        assert_finished(folder, kept=folder.name.startswith("kept"))
        assert_same_run(folder, tmp_path / folder.name.rpartition("-")[0])
    # They fell everywhere: before there was a checkpoint, while one was written, between two, at different steps.
    assert any(found["step"] is None for found in killed)
    assert any(name.endswith(".partial") for found in killed for name in found["files"])
    assert any(found["step"] and not any(n.startswith(".") for n in found["files"]) for found in killed)
    assert len({found["step"] for found in killed}) >= 3


def kill_many(folder: str) -> None:
    """Runs every variant undisturbed once, then kills and resumes until there were enough kills."""
    import torch._dynamo  # what every copy would otherwise import itself
    import torch.fx.experimental.symbolic_shapes

    torch.set_num_threads(1)
    chance, killed = random.Random(0), []
    spans = [_measure(Path(folder) / name, name) for name in VARIANTS]
    start, rest = (statistics.median(times) for times in zip(*spans, strict=True))
    turn = 0
    while len(killed) < KILLS:
        for name in VARIANTS:
            out, moment = Path(folder) / f"{name}-{turn}", (START, chance.uniform(0, start))
            while not _attempt(out, name, *moment):
                killed.append({"run": out.name, **_found(out)})
                # Anywhere, in less than the time of a run, so that it dies several times; or while it writes.
                moment = chance.choice([(PLANNED, chance.uniform(0, rest / 2)), (chance.randint(1, 12), 0.0)])
        turn += 1
    print(json.dumps(killed))


START, PLANNED = -1, 0  # what a kill waits for; a number above is that of a call of fsync


def _measure(out: Path, variant: str) -> tuple[float, float]:
    """Seconds to the first step, and from there to the end, of a run that nobody kills."""
    began, (child, event) = time.monotonic(), _child(out, variant, PLANNED)
    os.read(event, 1)
    start = time.monotonic() - began
    os.close(event)
    assert _exit_code(child) == 0
    return start, time.monotonic() - began - start


def _attempt(out: Path, variant: str, event: int, delay: float) -> bool:
    """A copy of this process goes on with a run and is killed; whether it was done before that."""
    child, happened = _child(out, variant, event)
    if event != START:
        os.read(happened, 1)  # returns at the end of the process, too
    time.sleep(delay)
    os.close(happened)
    os.kill(child, signal.SIGKILL)
    code = _exit_code(child)
    assert code in (0, -signal.SIGKILL), f"{out.name}: exit code {code}"
    return code == 0


def _child(out: Path, variant: str, event: int) -> tuple[int, int]:
    """A process that runs or resumes, and a pipe on which it says that ``event`` happens."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            observer = At("planned", 1, lambda: event == PLANNED and os.write(writing, b"!"))
            os.fsync = _telling(os.fsync, event, writing)
            finetune(out, resume=True, checkpoint_every=EVERY, observer=observer, **VARIANTS[variant]())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    return child, reading


def _telling(fsync: Callable[[int], None], event: int, pipe: int) -> Callable[[int], None]:
    calls = itertools.count(1)

    def call(file: int) -> None:
        if next(calls) == event:
            os.write(pipe, b"!")
        fsync(file)

    return call


def _exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _found(out: Path) -> dict[str, Any]:
    """What a kill left, and how far the run was."""
    newest = checkpoint.latest(out)
    if newest is None:
        return {"files": sorted(names(out)) if out.exists() else [], "step": None}
    position = checkpoint.read(newest).facts["position"]
    return {"files": sorted(names(out)), "step": f"{position['epoch']}, {position['step']}"}


# -- the command line ------------------------------------------------------------------------------


def _command(folder: Path, out: str, *more: str) -> subprocess.Popen[str]:
    options = "--data pictures --model tiny:tiny --input-size 16 --budget 16KB --epochs 3 --batch-size 4 --threads 1"
    command = [sys.executable, "-m", "sparsebp", "finetune", *options.split(), "--checkpoint-every", "2"]
    package = str(Path(checkpoint.__file__).parents[2])
    return subprocess.Popen(
        [*command, "--max-update-ratio", "1", "--out", out, *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": package},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _kill_at(process: subprocess.Popen[str], out: Path, number: int, delay: float) -> None:
    """Some time after the checkpoint of that number, or a later one, is there."""
    while process.poll() is None:
        newest = checkpoint.latest(out)
        if newest is not None and int(newest.name.rpartition("-")[2]) >= number:
            time.sleep(delay)
            break
        time.sleep(0.005)
    process.kill()
    text, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, text


def test_a_killed_command_line_run_resumes(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    write_pictures(tmp_path / "pictures", 12)
    chance = random.Random(0)
    undisturbed = _command(tmp_path, "undisturbed")
    _kill_at(_command(tmp_path, "run"), tmp_path / "run", 2, chance.uniform(0, 0.1))
    _kill_at(_command(tmp_path, "run", "--resume"), tmp_path / "run", 9, chance.uniform(0, 0.1))
    last = _command(tmp_path, "run", "--resume")
    for process in (last, undisturbed):
        text, _ = process.communicate()
        assert process.returncode == 0, text
    assert_finished(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
