"""Sessions that hold one turn: the same rows for all, whatever each of them trains, and the numbers they exchange."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import sparsebp
from odd_networks import network
from sparsebp.runtime import Session, apply_delta
from test_deltas import changed_channels, exported, rows_of, train
from torch import nn
from training import SIZE


def channels(session: Session) -> dict[str, list[int]]:
    """The update sets of now."""
    return {layer["name"]: layer["channels"] for layer in session.plan["layers"] if layer["selected"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("held") / "base")


@pytest.mark.parametrize("sampler", ["random", "cyclic", "static"])
def test_a_turn_s_set_is_the_same_in_all_sessions_and_stays_for_all_their_steps(tmp_path: Path, sampler: str) -> None:
    file = exported(tmp_path / "base", {"sampler": sampler})
    first, second = Session(file), Session(file)
    train(second, range(5))  # which has drawn five sets since
    for turn in (3, 17, 3):
        for session in (first, second):
            session.hold(turn)
        held = channels(first)
        assert channels(second) == held
        train(first, range(3))
        assert channels(first) == held
        assert first.progress.turn == turn


def test_the_turns_are_those_that_a_session_draws_by_itself(base: Path) -> None:
    walking, holding = Session(base), Session(base)
    for turn in range(4):
        holding.hold(turn)
        train(walking, range(1))  # the next draw is made when the next step begins
        assert walking.progress.turn == turn
        assert channels(holding) == channels(walking)


def test_the_file_does_not_remember_that_a_turn_was_held(tmp_path: Path, base: Path) -> None:
    session = Session(base)
    session.hold(7)
    train(session, range(3))
    session.save(tmp_path / "saved")
    again = Session(tmp_path / "saved")
    train(again, range(2))
    assert again.progress.turn == 8


def test_what_trains_is_named_and_read_row_by_row(base: Path) -> None:
    session = Session(base)
    session.hold(5)
    tensors, sets = safetensors.numpy.load_file(base), channels(session)
    values, first = session.get_trainable(), 0
    drawn = 0
    for name, shape in session.trainable.items():
        expected, layer = tensors[name], name.removesuffix(".weight")
        if layer in sets and len(sets[layer]) < (expected.shape[-1] if expected.shape[-2] == 1 else expected.shape[-2]):
            if expected.shape[-2] == 1:  # depthwise: [kernel_h, kernel_w, 1, channels]
                expected = expected[:, :, 0, sets[layer], None]
            else:
                expected = expected[..., sets[layer], :]
            drawn += expected.size
        count = int(np.prod(shape))
        assert (values[first : first + count] == expected.ravel()).all(), name
        first += count
    assert first == len(values)
    assert session.drawn_numbers == drawn > 0


def test_training_changes_what_trains_and_nothing_else(tmp_path: Path, base: Path) -> None:
    session = Session(base)
    session.hold(2)
    before = session.get_trainable()
    train(session, range(4))
    trained = session.get_trainable()
    session.set_trainable(before)
    session.save(tmp_path / "reset")
    session.set_trainable(trained)
    session.save(tmp_path / "trained")
    assert (before != trained).any()
    assert changed_channels(base, tmp_path / "reset") == {}
    assert changed_channels(base, tmp_path / "trained") != {}


def test_grouped_rows_come_back_to_their_places(tmp_path: Path) -> None:
    middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2))
    model = sparsebp.convert(network(middle), "1MB", input_size=SIZE, ratios={"*": 0.4})
    opt = sparsebp.optim.SGD(model, lr=0.1)
    sparsebp.export(model, tmp_path / "base")
    first, second = Session(tmp_path / "base"), Session(tmp_path / "base")
    for session in (first, second):
        session.hold(1)
    train(first, range(3))
    second.set_trainable(first.get_trainable())
    first.save(tmp_path / "first")
    second.save(tmp_path / "second")
    one, other = (safetensors.numpy.load_file(tmp_path / name) for name in ("first", "second"))
    assert all((one[name] == other[name]).all() for name in one if not name.startswith("sparsebp."))
    del opt


def test_a_delta_of_a_held_turn_has_its_rows_alone(tmp_path: Path, base: Path) -> None:
    session = Session(base)
    session.hold(40)
    train(session, range(6))
    session.save_delta(tmp_path / "delta")
    session.save(tmp_path / "saved")
    sets = channels(session)
    assert rows_of(tmp_path / "delta")
    for name, rows in rows_of(tmp_path / "delta").items():
        assert rows == set(sets[name.removesuffix(".weight")])
    apply_delta(base, tmp_path / "delta", tmp_path / "made")
    assert (tmp_path / "made").read_bytes() == (tmp_path / "saved").read_bytes()


def test_a_delta_of_several_held_turns_has_the_rows_of_all(tmp_path: Path, base: Path) -> None:
    session = Session(base)
    for turn in (9, 4):  # also backwards
        session.hold(turn)
        train(session, range(2))
    session.save_delta(tmp_path / "delta")
    session.save(tmp_path / "saved")
    apply_delta(base, tmp_path / "delta", tmp_path / "made")
    assert (tmp_path / "made").read_bytes() == (tmp_path / "saved").read_bytes()


# -- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["importance", "top-k"])
def test_draws_that_depend_on_what_was_trained_cannot_be_held(tmp_path: Path, sampler: str) -> None:
    session = Session(exported(tmp_path / "base", {"sampler": sampler}))
    before = channels(session)
    with pytest.raises(ValueError, match="plan with the sampler random, cyclic or static"):
        session.hold(1)
    assert channels(session) == before


def test_numbers_that_do_not_fit_change_nothing(base: Path) -> None:
    session = Session(base)
    values = session.get_trainable()
    with pytest.raises(ValueError, match="turn: expected 0 to"):
        session.hold(-1)
    with pytest.raises(TypeError, match="values: expected float32, got float64"):
        session.set_trainable(values.astype(np.float64))
    with pytest.raises(ValueError, match=f"values: expected \\[{len(values)}\\]"):
        session.set_trainable(values[1:])
    spoilt = values + np.float32(1)
    spoilt[-1] = np.nan
    with pytest.raises(ValueError, match="values: expected finite numbers"):
        session.set_trainable(spoilt)
    assert (session.get_trainable() == values).all()


def test_no_delta_claims_weights_that_were_set(tmp_path: Path, base: Path) -> None:
    session = Session(base)
    session.set_trainable(session.get_trainable())
    with pytest.raises(RuntimeError, match="save the file first"):
        session.save_delta(tmp_path / "delta")
    session.save(tmp_path / "saved")
    train(session, range(1))
    session.save_delta(tmp_path / "delta")
