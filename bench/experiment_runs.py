"""Carrying out experiments: each run in a process and a folder of its own, its result one line of JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import sparsebp
import torch
from experiment import HELD_OUT, TRAIN, Experiment
from experiment_data import part
from sparsebp.benchmark.environment import environment, usable_cores
from sparsebp.data import Dataset, Subset
from sparsebp.files import write_atomically
from sparsebp.finetuning import Epoch, Interrupted, Observer, Position, Settings
from sparsebp.finetuning.behind_prefix import forms
from sparsebp.finetuning.recipe import Choice
from sparsebp.networks.pretrained import load_pretrained, read_weights, replace_classifier, usual_preprocess
from sparsebp.planning.plan import Plan
from sparsebp.units import format_bytes
from torch import Tensor, nn

RESULTS = "results.jsonl"
_KEYS = ("experiment", "seed", "identity", "source", "accuracy", "epochs", "plan")
_PLAN_KEYS = ("layers", "first", "update_ratio", "peak_bytes")
_PATIENCE = 60.0  # seconds that a run has for its checkpoint


@dataclass(frozen=True)
class Job:
    """One run of one experiment.

    Attributes:
        experiment: what.
        seed: of the run.
        data, weights: paths.
        out: folder of all runs.
        threads: of this run.
    """

    experiment: Experiment
    seed: int
    data: Path
    weights: Path
    out: Path
    threads: int

    @property
    def title(self) -> str:
        """``group/variant seed N``."""
        return f"{self.experiment.name} seed {self.seed}"

    @property
    def source(self) -> str:
        """The names of pictures and weights, without the folders they happen to lie in."""
        return f"{self.data.name}, {self.weights.name}"

    @property
    def identity(self) -> str:
        """Equal for equal runs; results and folders are found by it."""
        return self.experiment.identity(self.seed, self.source)

    @property
    def folder(self) -> Path:
        """Where its checkpoints are."""
        return self.out / f"{self.experiment.name.replace('/', '-')}-{self.seed}-{self.identity}"


class _Reporter(Observer):
    """A line now and then from a run among others."""

    LINES = 4  # an epoch

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self.coverage: list[float] = []
        self.choices: dict[str, Any] = {}

    def _say(self, text: str) -> None:
        print(f"{self._title}: {text}, {time.monotonic() - self._started:.0f} s", file=sys.stderr, flush=True)

    def chosen(self, choices: Sequence[Choice], few: Mapping[str, int]) -> None:
        self.choices = {choice.name: choice.value for choice in choices}
        self._say(", ".join(f"{name} {value}" for name, value in self.choices.items()))

    def planned(self, plan: Plan, start: Position) -> None:
        self._say(f"{len(plan.layers)} layers from {plan.layers[0].name}, {start.done:.0%} done")

    def caching(self, done: int, total: int, size: int, place: str) -> None:
        if done in (0, total):
            self._say(f"frozen layers, {done:,} of {total:,} pictures ({format_bytes(size)})")

    def stepped(self, position: Position, loss: float, images: int) -> None:
        if position.step % max(1, position.steps_per_epoch // self.LINES) == 0:
            self._say(f"epoch {position.epoch + 1}, {position.step / position.steps_per_epoch:.0%}, loss {loss:.3f}")

    def epoch_ended(self, epoch: Epoch) -> None:
        self._say(f"epoch {epoch.number}, accuracy {epoch.accuracy:.2%}, coverage {epoch.coverage:.1%}")


def read_results(out: Path) -> list[dict[str, Any]]:
    """The results so far, oldest first.

    Raises:
        ValueError: the file holds something else; the message names the line.
    """
    file = out / RESULTS
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return [_read_result(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]


def _read_result(line: str, place: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(line)
        missing = [key for key in _KEYS if key not in result] + [key for key in _PLAN_KEYS if key not in result["plan"]]
        if missing or not result["epochs"]:
            raise ValueError(f"it says nothing of {', '.join(missing) or 'epochs'}")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{place}: expected the result of a run, as `run` writes it; {error}") from error
    return result


def open_pictures(path: Path, sweep: bool) -> Dataset:
    """All pictures of a data set, or the part of its training set that sweeps use.

    Raises:
        ValueError: it has too few.
    """
    whole = sparsebp.data.open_dataset(path)
    if not sweep:
        return whole
    count = len(whole.train)
    if count < TRAIN + HELD_OUT:
        raise ValueError(f"--data: a sweep takes {TRAIN + HELD_OUT:,} training pictures, {path} has {count:,}")
    train, held_out = range(TRAIN), range(count - HELD_OUT, count)
    return Dataset(Subset(whole.train, train), Subset(whole.train, held_out), whole.classes, whole.kind)


def carry_out(job: Job) -> dict[str, Any]:
    """Trains, and returns the line that goes into the results; goes on where an interrupted run was."""
    torch.set_num_threads(job.threads)
    started = time.monotonic()
    pictures = part(open_pictures(job.data, job.experiment.sweep), job.experiment, job.seed)
    torch.manual_seed(job.seed)  # the classifier starts afresh
    model = _network(job, pictures)
    settings, chooses = job.experiment.settings, job.experiment.recipe
    reporter = _Reporter(job.title)
    caches = chooses or forms(Settings(**settings).augment) is not None
    found = sparsebp.finetune(
        model,
        pictures,
        out=job.folder,
        resume=True,
        cache="disk" if caches else None,
        recipe=chooses,
        observer=reporter,
        seed=job.seed,
        dense_audit=not job.experiment.sweep,
        **settings,
    )
    plan = found.plan
    return {
        "experiment": job.experiment.name,
        "seed": job.seed,
        "identity": job.identity,
        "source": job.source,
        "settings": dict(settings),
        "chosen": reporter.choices,
        "pictures": [len(pictures.train), len(pictures.test)],
        "accuracy": found.accuracy,
        "epochs": [epoch.to_dict() for epoch in found.history.epochs],
        "plan": {
            "layers": len(plan.layers),
            "first": plan.layers[0].name,
            "update_ratio": plan.update_ratio,
            "peak_bytes": plan.peak_bytes,
            "peak_by_category": plan.peak_by_category(),
        },
        "memory": found.memory.to_dict(),
        "seconds": round(time.monotonic() - started),
        "environment": environment(),
    }


def _network(job: Job, pictures: Dataset) -> nn.Module:
    """The experiment's network with its weights and a fresh classifier, pruned if the experiment says so."""
    weights, classes, ratio = read_weights(job.weights), len(pictures.classes), job.experiment.prune
    if not ratio:
        model: nn.Module = getattr(sparsebp.models, job.experiment.network)(classes)
        load_pretrained(model, weights)
        return model
    classifier = next(t for name, t in weights.tensors.items() if name.endswith("classifier.1.weight"))
    model = sparsebp.models.mobilenet_v2(len(classifier))
    load_pretrained(model, weights)
    side = job.experiment.settings["input_size"]
    judges = [pictures.train.picture(i) for i in range(job.experiment.prune_by)]
    data: Sequence[Tensor] | None = None
    if judges:  # labelled by the network that is pruned: its own classes are not those of the pictures
        preprocess = usual_preprocess(weights, (side, side))
        data = preprocess.normalise(torch.from_numpy(np.stack([preprocess.fit(p) for p in judges]))).split(16)
    model = sparsebp.prune(model, torch.zeros(1, 3, side, side), ratio, data)
    replace_classifier(model, classes)
    return model


def run_all(jobs: Sequence[Job], at_once: int) -> Iterator[tuple[Job, dict[str, Any] | Exception]]:
    """Runs all of them, ``at_once`` at a time; yields results as they come, after they are written.

    A run that fails yields its exception, and the others go on. Ctrl-C ends all of them, with a checkpoint each.
    """
    with ThreadPoolExecutor(at_once) as pool:
        waiting = {pool.submit(_in_its_own_process, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                job = waiting[future]
                try:
                    result = future.result()
                except Exception as error:
                    yield job, error
                else:
                    _append(job.out, result)
                    yield job, result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _stop(waiting)
            raise


def _stop(waiting: Iterable[Future[Any]]) -> None:
    """Asks every run to end with a checkpoint, and waits; another Ctrl-C asks once more, which ends it at once."""
    asked: set[int | None] = set()
    while not all(future.done() for future in waiting):
        try:
            for child in active_children():
                if child.pid not in asked:
                    child.terminate()
                    asked.add(child.pid)
            time.sleep(0.05)
        except KeyboardInterrupt:
            asked.clear()


def _in_its_own_process(job: Job) -> dict[str, Any]:
    """What a run leaves in memory, and its number of threads, end with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin) as process:
        return process.submit(_carry_out_alone, job).result()


def _begin() -> None:
    """A run whose command has been killed ends too, with a checkpoint, as after Ctrl-C.

    Ctrl-C itself is the command's: a run that got it as well would get two signals, and the second ends it at once.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    command = parent_process()
    assert command is not None

    def watch() -> None:
        wait([command.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE)  # a pool's process waits for the next task, even when nobody is left to give one
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _carry_out_alone(job: Job) -> dict[str, Any]:
    try:
        return carry_out(job)
    except Interrupted:
        command = parent_process()
        if command is None or not command.is_alive():
            os._exit(1)
        raise


def _append(out: Path, result: dict[str, Any]) -> None:
    lines = [json.dumps(r) for r in [*read_results(out), result]]
    write_atomically(out / RESULTS, ("\n".join(lines) + "\n").encode())


def threads_each(at_once: int) -> int:
    """Threads of a run when so many share the machine."""
    return max(1, usable_cores() // at_once)
