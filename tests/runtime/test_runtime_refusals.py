"""What cannot be exported, trained, read or written says why and changes nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import sparsebp
from networks import tiny_mobilenet
from odd_networks import network
from sessions import PICTURES, assert_same_weights, pictures, trained
from sparsebp import PlanFileError
from sparsebp.runtime import Session
from torch import nn
from training import SIZE, one_thread  # noqa: F401


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    mixed = sparsebp.convert(network(nn.LPPool2d(2, 2)), "64KB", input_size=SIZE)
    opt = sparsebp.optim.SGD(mixed, lr=0.1)
    with pytest.raises(sparsebp.UnsupportedModel, match=r"LPPool2d \(1, first: middle0\)"):
        sparsebp.export(mixed, tmp_path / "plan")
    del opt
    model = sparsebp.convert(tiny_mobilenet(), "64KB", input_size=SIZE)
    with pytest.raises(ValueError, match="no optimizer is attached"):
        sparsebp.export(model, tmp_path / "plan")
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda x, y: (x[:, :8], y), ValueError, r"pixels: expected \[N, 16, 16, 3\]"),
        (lambda x, y: (x.astype(np.float64), y), TypeError, "uint8 or float32"),
        (lambda x, y: (x, y[:1]), ValueError, "one for each of 2 images"),
        (lambda x, y: (x, y + 10), ValueError, "labels: expected 0 to 9"),
        (lambda x, y: (x, y.astype(float)), TypeError, "whole numbers"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "at least one image"),
        (lambda x, y: (np.full(x.shape, math.nan, np.float32), y), FloatingPointError, "NaN"),
    ],
)
def test_wrong_arrays_train_nothing(tmp_path: Path, spoil: Any, error: type[Exception], words: str) -> None:
    model, _ = trained({}, {})
    sparsebp.export(model, tmp_path / "plan", preprocess=PICTURES)
    session = Session(tmp_path / "plan")
    with pytest.raises(error, match=words):
        session.train(*spoil(*pictures(2, 0)))
    session.save(tmp_path / "after")
    assert_same_weights(tmp_path / "after", model)
    session.train(*pictures(2, 0))


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = sparsebp.convert(net, "64KB", input_size=(3, 2, 2))
    opt = sparsebp.optim.SGD(model, lr=0.1)
    sparsebp.export(model, tmp_path / "plan")
    data = (tmp_path / "plan").read_bytes()
    Session(data)
    for end in range(len(data)):
        with pytest.raises(PlanFileError):
            Session(data[:end])
    del opt


def test_foreign_newer_and_damaged_files_are_told_apart(tmp_path: Path) -> None:
    model, _ = trained({}, {})
    file = tmp_path / "plan"
    sparsebp.export(model, file)
    data = file.read_bytes()
    safetensors.numpy.save_file({"x": np.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(PlanFileError, match="without a plan"):
        Session(tmp_path / "foreign")
    with pytest.raises(PlanFileError, match="cannot be opened"):
        Session(tmp_path / "missing")
    at = data.index(b"SBPP")
    newer = bytearray(data)
    newer[at + 4] = 5
    with pytest.raises(PlanFileError, match="format 5, this version of sparsebp reads 1 to 4"):
        Session(bytes(newer))
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in generator.integers(0, at + 4000, 3):
            damaged[place] ^= int(generator.integers(1, 256))
        try:
            Session(bytes(damaged))
        except (PlanFileError, MemoryError):
            continue  # a name or a number that still makes sense is no damage that could be seen


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    model, _ = trained({}, {})
    file = tmp_path / "plan"
    sparsebp.export(model, file, preprocess=PICTURES)
    before = file.read_bytes()
    with pytest.raises(PlanFileError, match="cannot be written"):
        Session(file).save(tmp_path / "no folder" / "after")
    # A disk that is full after some kilobytes, as far as this process can tell.
    script = (
        "import resource, signal, numpy as np, sparsebp.runtime as r\n"
        f"session = r.Session({str(file)!r})\n"
        "session.train(np.zeros((1, 16, 16, 3), np.uint8), [3])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        f"session.save({str(file)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "PlanFileError" in done.stderr
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["plan"]
