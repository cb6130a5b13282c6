"""Batches: the same whatever the workers do, without what is broken, and nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sparsebp.data import Arrays, Batch, BrokenPicture, Loader
from sparsebp.data import workers as worker_processes
from sparsebp.data.augment import AUGMENTATIONS
from twelve_pictures import PIXELS, SIZE, pictures

ALL = tuple(AUGMENTATIONS)
Workers = Callable[[], list[BaseProcess]]
BATCHES = [[3, 1, 4], [], [5, 9], [2, 6, 5, 3], [11], [0, 7, 8]]


class Damaged(Arrays):
    """Every picture whose index can be divided by three is broken."""

    def picture(self, index: int) -> Image.Image:
        if index % 3 == 0:
            raise BrokenPicture(self.name(index), "it is broken")
        return super().picture(index)


class Counting(Arrays):
    """Counts in all processes together what was read."""

    def __init__(self) -> None:
        super().__init__(PIXELS, range(12))
        self.count = multiprocessing.get_context("fork").Value("i", 0)

    def picture(self, index: int) -> Image.Image:
        with self.count.get_lock():
            self.count.value += 1
        return super().picture(index)


class Faulty(Arrays):
    def picture(self, index: int) -> Image.Image:
        raise ZeroDivisionError(f"a defect at {index}")


@pytest.fixture(autouse=True)
def started() -> Iterator[Workers]:
    """The processes that a test has started and that still run: other tests of this process may have some, too."""
    others = {process.pid for process in multiprocessing.active_children()}

    def running() -> list[BaseProcess]:
        return [process for process in multiprocessing.active_children() if process.pid not in others]

    yield running
    assert running() == []


def assert_same(batches: list[Batch], others: list[Batch]) -> None:
    assert len(batches) == len(others)
    for one, other in zip(batches, others, strict=True):
        for name in ("indices", "images", "labels"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert [str(b) for b in one.broken] == [str(b) for b in other.broken]


# --- what comes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_batches_come_in_the_given_order(workers: int) -> None:
    with Loader(pictures(), SIZE, workers=workers) as loader:
        for wanted, batch in zip(BATCHES, loader(BATCHES), strict=True):
            assert batch.indices.tolist() == wanted
            assert batch.labels.tolist() == [index % 5 for index in wanted]
            assert batch.images.shape == (len(wanted), 8, 8, 3)
            assert (batch.indices.dtype, batch.images.dtype) == (torch.int64, torch.uint8)
            assert batch.broken == ()
            for index, image in zip(wanted, batch.images, strict=True):
                assert (image.numpy() == SIZE.fit(Image.fromarray(PIXELS[index]))).all()
            batch.images.add_(1)  # the batch is the caller's


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_pictures_are_left_out_and_named(workers: int) -> None:
    loader = Loader(Damaged(PIXELS, range(12), "p.npz"), SIZE, workers=workers)
    first, second, third = loader([[0, 1, 3, 2], [9, 6], [4]])
    assert first.indices.tolist() == first.labels.tolist() == [1, 2]
    assert [str(broken) for broken in first.broken] == ["p.npz[0]: it is broken", "p.npz[3]: it is broken"]
    assert second.images.shape == (0, 8, 8, 3)
    assert [broken.name for broken in second.broken] == ["p.npz[9]", "p.npz[6]"]
    assert all(broken.__traceback__ is None for broken in second.broken)  # it would keep the picture's memory
    assert third.indices.tolist() == [4]


def test_what_is_drawn_depends_on_seed_epoch_and_index_alone() -> None:
    reference = list(Loader(pictures(), SIZE, augment=ALL, seed=7)(BATCHES, epoch=3))
    for workers in (1, 2):
        loader = Loader(pictures(), SIZE, augment=ALL, seed=7, workers=workers)
        assert_same(list(loader(BATCHES, epoch=3)), reference)
        assert_same(list(loader(BATCHES[3:], epoch=3)), reference[3:])
    assert torch.equal(reference[0].images[0], reference[3].images[3])  # picture 3, in any batch
    for other in (
        Loader(pictures(), SIZE, augment=ALL, seed=7)(BATCHES, epoch=4),
        Loader(pictures(), SIZE, augment=ALL, seed=8)(BATCHES, epoch=3),
    ):
        assert not torch.equal(next(other).images, reference[0].images)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_programs_random_numbers_are_left_alone(workers: int) -> None:
    torch.manual_seed(1)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    list(Loader(pictures(), SIZE, augment=ALL, workers=workers)(BATCHES))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before


def test_workers_are_forked_beside_a_running_thread_pool(threads: Callable[[int], None]) -> None:
    threads(2)
    big = torch.ones(600, 600)
    assert (big @ big).sum() == 600**3
    assert len(list(Loader(pictures(), SIZE, augment=ALL, workers=2)(BATCHES))) == len(BATCHES)


def test_nothing_is_said_of_forking_beside_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork

    def fork_of_python_3_12() -> int:
        message = (
            f"This process (pid={os.getpid()}) is multi-threaded, use of fork() may lead to deadlocks in the child."
        )
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return fork()

    monkeypatch.setattr(os, "fork", fork_of_python_3_12)
    assert len(list(Loader(pictures(), SIZE, workers=2)(BATCHES))) == len(BATCHES)


def test_a_fresh_interpreter_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = list(Loader(pictures(), SIZE, augment=ALL)(BATCHES))
    monkeypatch.setattr(worker_processes, "START_METHOD", "spawn")  # where there is no fork
    assert_same(list(Loader(pictures(), SIZE, augment=ALL, workers=1)(BATCHES)), reference)


# --- how it ends -----------------------------------------------------------------------------------------------------


def test_leaving_early_ends_the_workers(started: Workers) -> None:
    loader = Loader(pictures(), SIZE, workers=2)
    for _ in loader(BATCHES * 100):
        break
    assert started() == []
    with closing(loader(BATCHES * 100)) as batches:
        next(batches)
        assert len(started()) == 2
    assert started() == []
    one, other = loader(BATCHES * 100), loader(BATCHES * 100)
    assert next(one).indices.tolist() == next(other).indices.tolist() == BATCHES[0]
    loader.close()
    assert started() == []
    assert list(one) == []
    with pytest.raises(RuntimeError, match="it is closed; make another"):
        loader(BATCHES)
    loader.close()


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_only_a_few_batches_are_read_ahead(workers: int) -> None:
    source = Counting()
    with Loader(source, SIZE, workers=workers) as loader:
        batches = loader([[0, 1]] * 50)
        for taken in range(1, 4):
            next(batches)
            time.sleep(0.3)
            assert source.count.value <= 2 * (taken + max(4, workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_defect_in_a_source_is_raised(workers: int) -> None:
    with pytest.raises(ZeroDivisionError, match="a defect at 3"):
        list(Loader(Faulty(PIXELS, range(12)), SIZE, workers=workers)(BATCHES))


def test_a_worker_that_dies_is_noticed(started: Workers) -> None:
    batches = Loader(pictures(), SIZE, workers=1)(BATCHES * 100)
    next(batches)
    os.kill(started()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"killed by signal|exited unexpectedly"):
        list(batches)


def test_workers_ignore_the_signals_that_stop_the_program(started: Workers) -> None:
    with Loader(pictures(), SIZE, workers=2) as loader:
        batches = loader(BATCHES)
        next(batches)
        for process in started():
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(process.pid or 0, number)
        assert len(list(batches)) == len(BATCHES) - 1


SCRIPT = """
import signal, sys, time, numpy as np
from sparsebp.data import Arrays, Loader, Preprocess

class Slow(Arrays):
    def picture(self, index):
        time.sleep(0.05)
        return super().picture(index)

# What a shell starts in the background ignores Ctrl-C, and so would everything that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
source = Slow(np.zeros((200, 8, 8), np.uint8), np.zeros(200, int))
batches = Loader(source, Preprocess((8, 8)), workers=2)([[0]] + [list(range(200))] * 50)
next(batches)
print("ready", flush=True)
if sys.argv[1] == "wait":
    next(batches)
"""  # no `if __name__ == "__main__"`: under fork none is needed


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT", "exit"])
def test_workers_end_with_the_program_however_it_ends(tmp_path: Path, end: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-W", "error", str(script), "exit" if end == "exit" else "wait"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        if end == "SIGINT":
            os.killpg(program.pid, signal.SIGINT)  # as Ctrl-C: to the workers too
        elif end != "exit":
            program.send_signal(getattr(signal, end))
        # The workers hold the same pipes: they are read to their end only when the last process has gone.
        _, errors = program.communicate(timeout=300)
    assert program.returncode == {"exit": 0, "SIGINT": -2, "SIGKILL": -9}[end], errors
    assert errors.count("Traceback") == (1 if end == "SIGINT" else 0), errors
    assert ("KeyboardInterrupt" in errors) == (end == "SIGINT"), errors


# --- arguments -------------------------------------------------------------------------------------------------------


def test_arguments_that_make_no_sense() -> None:
    for given_, error, message in (
        ({"workers": -1}, ValueError, "workers: expected 0 or more, got -1"),
        ({"workers": 1.5}, TypeError, "workers: expected an int, got float 1.5"),
        ({"preprocess": (8, 8)}, TypeError, "preprocess: expected a Preprocess, got tuple"),
        ({"seed": -1}, ValueError, "seed: expected 0 to"),
        ({"augment": [3]}, TypeError, "augment: expected names"),
    ):
        with pytest.raises(error, match=message):
            Loader(pictures(), **{"preprocess": SIZE, **given_})  # type: ignore[arg-type]
    loader = Loader(pictures(), SIZE)
    for batch in ([0, 12], [-1]):
        with pytest.raises(IndexError, match="batches: expected indices 0 to 11, got"):
            loader([[1], batch])
    for epoch in (-1, 0.5, True):
        with pytest.raises(ValueError, match="epoch: expected an int from 0 on"):
            loader([[1]], epoch=epoch)  # type: ignore[arg-type]
