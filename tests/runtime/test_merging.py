"""Deltas of several machines, averaged row by row; numpy says what has to come out."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import sparsebp
from board_runs import command
from networks import randomize_classifier
from odd_networks import network
from small_plans import noise, small_plan
from sparsebp import PlanFileError
from sparsebp.runtime import Session, apply_delta, make_delta, merge_deltas
from test_deltas import exported, rows_of, train
from torch import nn
from training import SIZE


def delta(base: Path, name: str, steps: range, turn: int | None = None) -> Path:
    """What a machine makes of the base in these steps."""
    session, path = Session(base), base.with_name(name)
    if turn is not None:
        session.hold(turn)
    train(session, steps)
    session.save_delta(path)
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return exported(tmp_path / "base")


def expected(base: Path, deltas: list[Path], weights: list[float]) -> dict[str, np.ndarray]:
    """The rule in plain words: of each input channel the mean over those who trained it, of the rest that of all."""
    begin = safetensors.numpy.load_file(base)
    made = []
    for path in deltas:
        apply_delta(base, path, path.with_suffix(".made"))
        made.append(safetensors.numpy.load_file(path.with_suffix(".made")))
    out = {name: tensor.astype(np.float64) for name, tensor in begin.items() if not name.startswith("sparsebp.")}
    for name, tensor in out.items():
        sums, total = np.zeros_like(tensor), np.zeros_like(tensor)
        for path, after, weight in zip(deltas, made, weights, strict=True):
            trained = np.zeros(tensor.shape, bool)
            rows = rows_of(path).get(name)
            if name in safetensors.numpy.load_file(path):
                trained[...] = rows is None
            for channel in rows or ():
                inside = tensor.shape[-2]
                groups = tensor.shape[-1] // safetensors.numpy.load_file(path)[name].shape[-1]
                size = tensor.shape[-1] // groups
                group = channel // inside
                trained[..., channel % inside, group * size : (group + 1) * size] = True
            sums += np.where(trained, weight * after[name].astype(np.float64), 0)
            total += np.where(trained, weight, 0)
        out[name] = np.where(total > 0, sums / np.where(total > 0, total, 1), tensor)
    return out


def assert_close(file: Path, wanted: dict[str, np.ndarray]) -> None:
    found = safetensors.numpy.load_file(file)
    for name, tensor in wanted.items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-7, atol=1e-12, err_msg=name)


def test_rows_are_means_over_those_who_trained_them(base: Path, tmp_path: Path) -> None:
    deltas = [delta(base, f"delta{i}", range(10 * i, 10 * i + i + 1)) for i in range(3)]
    merged = merge_deltas(base, deltas, tmp_path / "out")
    assert merged.weights == (1, 2, 3)  # batches
    assert merged.rows > merged.shared_rows > 0
    assert_close(tmp_path / "out", expected(base, deltas, [1, 2, 3]))
    weights = [0.5, 7, 2.25]
    assert merge_deltas(base, deltas, tmp_path / "other", weights).weights == tuple(weights)
    assert_close(tmp_path / "other", expected(base, deltas, weights))


def test_grouped_and_depthwise_rows_find_their_places(tmp_path: Path) -> None:
    middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2))
    model = sparsebp.convert(randomize_classifier(network(middle), 0), "1MB", input_size=SIZE, ratios={"*": 0.4})
    opt = sparsebp.optim.SGD(model, lr=0.1)
    sparsebp.export(model, tmp_path / "base")
    deltas = [delta(tmp_path / "base", f"delta{i}", range(10 * i, 10 * i + 1)) for i in range(3)]
    merge_deltas(tmp_path / "base", deltas, tmp_path / "out")
    assert_close(tmp_path / "out", expected(tmp_path / "base", deltas, [1, 1, 1]))
    del opt


def test_a_weight_that_one_trained_whole_and_another_in_part_is_averaged_by_rows(base: Path, tmp_path: Path) -> None:
    deltas = [delta(base, "long", range(60)), delta(base, "short", range(60, 61))]
    name = next(n for n in rows_of(deltas[1]) if n not in rows_of(deltas[0]))
    assert name in safetensors.numpy.load_file(deltas[0])
    merge_deltas(base, deltas, tmp_path / "out", [1, 1])
    assert_close(tmp_path / "out", expected(base, deltas, [1, 1]))


def test_the_order_of_deltas_changes_no_bit(base: Path, tmp_path: Path) -> None:
    deltas = [delta(base, f"delta{i}", range(10 * i, 10 * i + i + 1)) for i in range(3)]
    results = set()
    for i, order in enumerate(itertools.permutations(range(3))):
        merge_deltas(base, [deltas[j] for j in order], tmp_path / f"out{i}", [(0.1, 0.7, 1.3)[j] for j in order])
        results.add((tmp_path / f"out{i}").read_bytes())
    assert len(results) == 1


def test_one_delta_gives_what_apply_gives(base: Path, tmp_path: Path) -> None:
    path = delta(base, "delta", range(3))
    apply_delta(base, path, tmp_path / "applied")
    merge_deltas(base, [path], tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "applied").read_bytes()


def test_machines_that_hold_one_turn_share_every_row(base: Path, tmp_path: Path) -> None:
    deltas = [delta(base, f"delta{i}", range(10 * i, 10 * i + 2), turn=5) for i in range(3)]
    merged = merge_deltas(base, deltas, tmp_path / "out")
    assert merged.rows == merged.shared_rows > 0
    assert_close(tmp_path / "out", expected(base, deltas, [2, 2, 2]))


def test_training_goes_on_where_the_longest_machine_was(base: Path, tmp_path: Path) -> None:
    deltas = [delta(base, "short", range(2)), delta(base, "long", range(10, 15))]
    merge_deltas(base, deltas, base)
    session = Session(base)
    assert session.progress.batches == 5
    train(session, range(3))
    session.save_delta(tmp_path / "next")  # the merged file is a base like any other
    apply_delta(base, tmp_path / "next", tmp_path / "after")


# -- refusals -----------------------------------------------------------------------------------------


def refused(base: Path, deltas: list[Path], error: type[Exception], words: str, weights: list[float] | None = None):  # type: ignore[no-untyped-def]
    before = sorted(path.name for path in base.parent.iterdir())
    with pytest.raises(error, match=words):
        merge_deltas(base, deltas, base.with_name("never"), weights)
    assert sorted(path.name for path in base.parent.iterdir()) == before


def test_deltas_that_cannot_be_merged_are_refused(base: Path, tmp_path: Path) -> None:
    good = delta(base, "good", range(2))
    other = delta(exported(tmp_path / "cyclic", {"sampler": "cyclic"}), "other", range(2))
    session = Session(base)
    train(session, range(1))
    session.save_delta(tmp_path / "first")
    train(session, range(1, 2))
    session.save_delta(tmp_path / "second")
    (tmp_path / "again").write_bytes(good.read_bytes())
    make_delta(base, base, tmp_path / "nothing")
    data = bytearray(good.read_bytes())
    data[-1] ^= 1
    (tmp_path / "damaged").write_bytes(data)
    (tmp_path / "text").write_text("no delta at all")
    refused(base, [], ValueError, "deltas: expected at least one")
    refused(base, [good, other], PlanFileError, "other, the delta: .* and another plan")
    refused(base, [good, tmp_path / "second"], PlanFileError, r"\(1 batches seen\), the base has .* \(0\)")
    refused(base, [good, tmp_path / "again"], ValueError, "good are the same; each counts once")
    refused(base, [good, tmp_path / "nothing"], ValueError, "weights: .*nothing says of no batches")
    refused(base, [good, tmp_path / "damaged"], PlanFileError, "damaged")
    refused(base, [good, tmp_path / "text"], PlanFileError, "text: no safetensors file")
    refused(base, [good, base], PlanFileError, "base: a safetensors file that is no delta")
    refused(base, [good, tmp_path / "none"], PlanFileError, "none: cannot be opened")
    refused(base, [good], ValueError, "weights: expected one for each of 1 deltas, got 2", [1, 2])
    refused(base, [good], ValueError, "weights: expected a number above 0, .*, got -1", [-1])
    refused(base, [good], ValueError, "weights: expected .* from 1e-15", [1e308])  # a sum of two would be none


def test_classes_are_merged_if_all_machines_added_the_same(tmp_path: Path) -> None:
    base = small_plan(tmp_path / "base")

    def machine(name: str, label: str, seed: int) -> Path:
        session = Session(base)
        session.add_class(label)
        session.train(noise(4, seed), [0, 1, 2, 3])
        session.save_delta(tmp_path / name)
        return tmp_path / name

    deltas = [machine("a", "hornet", 1), machine("b", "hornet", 2)]
    merge_deltas(base, deltas, tmp_path / "out")
    assert Session(tmp_path / "out").classes[-1] == "hornet"  # type: ignore[index]
    refused(base, [deltas[0], machine("c", "wasp", 3)], ValueError, "they have added different classes")


# -- the command of the runtime -------------------------------------------------------------------------


def test_the_small_command_merges(base: Path, tmp_path: Path) -> None:
    deltas = [delta(base, f"delta{i}", range(10 * i, 10 * i + 2)) for i in range(2)]
    done = command("delta", "merge", base, *deltas, "--out", tmp_path / "out", "--weights", "3,1")
    assert "delta0: weight 3" in done.stdout
    merge_deltas(base, deltas, tmp_path / "wanted", [3, 1])
    assert (tmp_path / "out").read_bytes() == (tmp_path / "wanted").read_bytes()
    wrong = command("delta", "merge", base, *deltas, "--out", tmp_path / "out", "--weights", "3,x")
    assert wrong.returncode == 2
    assert "expected numbers above 0" in wrong.stderr
