"""Deltas: what was trained since a file was saved, and the file that it gives with its base, bit by bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import sparsebp
from networks import tiny_mobilenet
from odd_networks import network
from sparsebp import PlanFileError
from sparsebp.runtime import Session, apply_delta
from torch import nn
from training import SIZE

WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "momentum, a set for three steps": ({"momentum": True, "resample_every": 3}, {"momentum": 0.9}),
    "cyclic": ({"sampler": "cyclic"}, {}),
    "importance": ({"sampler": "importance"}, {}),
    "static": ({"sampler": "static"}, {}),
    "normalised": ({"normalise": True}, {"normalise": True}),
    "sums": ({"gradients": "sum"}, {}),
}


def exported(path: Path, convert: dict[str, Any] | None = None, rules: dict[str, Any] | None = None) -> Path:
    model = sparsebp.convert(tiny_mobilenet(dropout=0.3), "1MB", input_size=SIZE, ratios={"*": 0.2}, **(convert or {}))
    opt = sparsebp.optim.SGD(model.train(), lr=0.02, **(rules or {}))
    sparsebp.export(model, path)
    del opt
    return path


def train(session: Session, steps: range) -> None:
    for step in steps:
        generator = np.random.default_rng(step)
        images = generator.standard_normal((1, 16, 16, 3)).astype(np.float32)
        session.train(images, generator.integers(0, 10, 1))


def changed_channels(before: Path, after: Path) -> dict[str, set[int]]:
    """The input channels of every convolution and linear layer whose weights differ, found by comparing files."""
    old, new = safetensors.numpy.load_file(before), safetensors.numpy.load_file(after)
    different = {name: (old[name] != new[name]) for name in old if name.endswith("weight") and old[name].ndim in (2, 4)}
    # [..., in, out]; of a depthwise layer [..., 1, channels]
    axis = {name: -1 if d.shape[-2] == 1 else -2 for name, d in different.items()}
    return {name: set(np.nonzero(d)[axis[name]].tolist()) for name, d in different.items() if d.any()}


def rows_of(delta: Path) -> dict[str, set[int]]:
    tensors = safetensors.numpy.load_file(delta)
    names = [name for name in tensors if f"sparsebp.channels.{name}" in tensors]
    return {name: set(tensors[f"sparsebp.channels.{name}"].tolist()) for name in names}


@pytest.mark.parametrize(("convert", "rules"), WAYS.values(), ids=WAYS.keys())
def test_base_and_deltas_are_the_file_that_save_writes(
    tmp_path: Path, convert: dict[str, Any], rules: dict[str, Any]
) -> None:
    base = exported(tmp_path / "base", convert, rules)
    session = Session(base)
    steps = itertools.pairwise([0, 2, 3, 3, 7])  # once nothing is trained in between
    now = base
    for i, (first, last) in enumerate(steps):
        train(session, range(first, last))
        session.save_delta(tmp_path / f"delta{i}")
        apply_delta(now, tmp_path / f"delta{i}", tmp_path / f"file{i}")
        now = tmp_path / f"file{i}"
        other = Session(base)
        train(other, range(last))
        other.save(tmp_path / "saved")
        assert now.read_bytes() == (tmp_path / "saved").read_bytes()


def test_a_delta_holds_the_channels_that_trained_and_no_others(tmp_path: Path) -> None:
    base = exported(tmp_path / "base")
    session = Session(base)
    train(session, range(2))
    session.save(tmp_path / "two")
    train(session, range(2, 4))
    session.save_delta(tmp_path / "delta")
    session.save(tmp_path / "four")
    rows, changed = rows_of(tmp_path / "delta"), changed_channels(tmp_path / "two", tmp_path / "four")
    assert rows
    for layer in session.plan["layers"]:
        name = f"{layer['name']}.weight"
        if name in rows:
            assert changed.get(name, set()) <= rows[name]
            assert len(rows[name]) <= 2 * layer["selected"] < layer["in"]  # two draws
        elif name in changed:
            assert layer["selected"] == layer["in"]
    assert (tmp_path / "delta").stat().st_size < base.stat().st_size / 2


def test_a_sampler_that_follows_the_gradients_saves_what_was_ever_visited(tmp_path: Path) -> None:
    session = Session(exported(tmp_path / "base", {"sampler": "importance"}))
    train(session, range(3))
    session.save(tmp_path / "three")
    train(session, range(3, 5))
    session.save_delta(tmp_path / "delta")
    session.save(tmp_path / "five")
    changed, rows = changed_channels(tmp_path / "base", tmp_path / "five"), rows_of(tmp_path / "delta")
    assert rows
    assert all(changed.get(name, set()) <= channels for name, channels in rows.items())


def test_depthwise_and_grouped_rows_find_their_places(tmp_path: Path) -> None:
    middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2))
    model = sparsebp.convert(network(middle), "1MB", input_size=SIZE, ratios={"*": 0.4})
    opt = sparsebp.optim.SGD(model, lr=0.1)
    sparsebp.export(model, tmp_path / "base")
    session = Session(tmp_path / "base")
    assert {layer["groups"] for layer in session.plan["layers"] if 0 < layer["selected"] < layer["in"]} >= {2, 8}
    train(session, range(2))
    session.save_delta(tmp_path / "delta")
    session.save(tmp_path / "saved")
    apply_delta(tmp_path / "base", tmp_path / "delta", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "saved").read_bytes()
    del opt


def test_a_session_from_bytes_and_one_whose_file_was_replaced_save_deltas_of_what_they_opened(tmp_path: Path) -> None:
    base = exported(tmp_path / "base")
    kept = base.read_bytes()
    mapped, copied = Session(base), Session(kept)
    train(mapped, range(2))
    mapped.save(base)
    mapped = Session(tmp_path / "base")
    train(copied, range(1))
    copied.save_delta(tmp_path / "delta")
    (tmp_path / "old").write_bytes(kept)
    apply_delta(tmp_path / "old", tmp_path / "delta", base)  # another name for the base of `mapped`
    train(mapped, range(2, 3))
    mapped.save_delta(tmp_path / "later")
    with pytest.raises(
        PlanFileError, match=r"later, the delta: it continues a file .* \(2 batches seen\), the base has .* \(1\)"
    ):
        apply_delta(base, tmp_path / "later", tmp_path / "out")


# -- refusals -----------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with ``base`` and two deltas that follow it."""
    session = Session(exported(tmp_path / "base"))
    for i in range(2):
        train(session, range(i, i + 1))
        session.save_delta(tmp_path / f"delta{i}")
    return tmp_path


def refused(folder: Path, base: str, delta: str, words: str) -> None:
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(PlanFileError, match=words):
        apply_delta(folder / base, folder / delta, folder / "out")
    assert sorted(p.name for p in folder.iterdir()) == before


def test_deltas_out_of_order_or_of_another_plan_are_refused_with_the_difference(trained: Path) -> None:
    refused(trained, "base", "delta1", r"\(1 batches seen\), the base has .* \(0\); apply deltas in the order")
    exported(trained / "another", {"sampler": "cyclic"})
    refused(trained, "another", "delta0", "and another plan")
    refused(trained, "delta0", "delta0", "delta0, the base: a safetensors file without a plan")
    refused(trained, "base", "base", "base, the delta: a safetensors file that is no delta")
    refused(trained, "base", "nothing", "nothing: cannot be opened")


def test_a_delta_of_a_newer_version_is_refused_by_name(trained: Path) -> None:
    data = (trained / "delta0").read_bytes()
    (trained / "newer").write_bytes(data.replace(b'"version":"1.0"', b'"version":"2.0"'))
    refused(trained, "base", "newer", "the delta has format 2.0")


def test_a_damaged_delta_is_refused(trained: Path) -> None:
    data = (trained / "delta0").read_bytes()
    places = np.random.default_rng(0).integers(0, len(data), 200)
    for place in [*places.tolist(), len(data) - 1]:
        (trained / "damaged").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            apply_delta(trained / "base", trained / "damaged", trained / "out")
        except PlanFileError:
            continue
        # What may change is a text that says nothing about the bytes.
        apply_delta(trained / "base", trained / "delta0", trained / "expected")
        assert (trained / "out").read_bytes() == (trained / "expected").read_bytes(), place


def test_a_delta_that_was_cut_off_is_refused(trained: Path) -> None:
    data = (trained / "delta0").read_bytes()
    for end in range(0, len(data), 97):
        (trained / "cut").write_bytes(data[:end])
        refused(trained, "base", "cut", "delta|cut")


def test_a_delta_that_cannot_be_written_leaves_the_session_where_it_was(trained: Path) -> None:
    session = Session(trained / "base")
    train(session, range(1))
    with pytest.raises(PlanFileError, match="cannot be written"):
        session.save_delta(trained / "no folder" / "delta")
    session.save_delta(trained / "again")
    assert (trained / "again").read_bytes() == (trained / "delta0").read_bytes()
