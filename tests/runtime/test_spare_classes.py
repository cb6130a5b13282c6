"""Plan files with spare outputs: they count in nothing until a session makes classes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import sparsebp
import torch
from networks import randomize_classifier
from spare_plans import KNOWN, SPARE, export, images, known_network, spare, tensors, wide_network
from sparsebp import PlanFileError
from sparsebp.runtime import Session, apply_delta
from torch.nn.functional import cross_entropy
from training import SIZE, one_thread  # noqa: F401

__all__ = ["spare"]  # fixtures

WEIGHT, BIAS, NAMES = "classifier.1.weight", "classifier.1.bias", "sparsebp.classes"

#: Of convert, and of export; the images of a step.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "plain": ({}, {}, 1),
    "normalised": ({"normalise": True}, {}, 1),
    "momentum and decay": ({"momentum": True, "resample_every": 4}, {"momentum": 0.9, "weight_decay": 0.01}, 1),
    "normalised, momentum and decay": (
        {"momentum": True, "resample_every": 30, "normalise": True},
        {"momentum": 0.9, "weight_decay": 0.01},
        1,
    ),
    "importance": ({"sampler": "importance"}, {}, 1),
    "sums": ({"batch_size": 2, "gradients": "sum", "normalise": True}, {"label_smoothing": 0.1}, 5),
    "smoothed, some learned": ({"batch_size": 2}, {"label_smoothing": 0.1, "skip_above": 0.2}, 5),
}


# -- what they do not change ---------------------------------------------------------------------------


@pytest.mark.parametrize(("convert", "rules", "count"), WAYS.values(), ids=WAYS.keys())
def test_a_file_with_spare_outputs_trains_what_one_without_trains(
    tmp_path: Path, convert: dict[str, Any], rules: dict[str, Any], count: int
) -> None:
    without = Session(export(tmp_path / "without", known_network(), KNOWN, convert, batch_size=count, **rules))
    beside = Session(export(tmp_path / "beside", wide_network(), KNOWN, convert, batch_size=count, **rules))
    assert (beside.sizes.classes, beside.sizes.outputs, without.sizes.outputs) == (6, 10, 6)
    for step in range(24):
        x, y = images(count, step)
        assert beside.train(x, y) == without.train(x, y), f"step {step}"
    x, y = images(5, 99)
    assert np.array_equal(beside.predict(x), without.predict(x))
    assert beside.evaluate(x, y) == without.evaluate(x, y)
    for session, name in ((without, "a"), (beside, "b")):
        session.save(tmp_path / name)
    trained, expected = sparsebp.load_file(tmp_path / "b"), sparsebp.load_file(tmp_path / "a")
    assert trained.keys() == expected.keys()
    assert [n for n in expected if not torch.equal(trained[n], expected[n])] == []


def test_the_loss_is_that_of_the_classes_alone(spare: Path) -> None:
    session = Session(spare)
    x, y = images(7, 0)
    logits = session.predict(x)
    assert logits.shape == (7, len(KNOWN))
    expected = cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(y))
    assert session.evaluate(x, y).loss == pytest.approx(expected.item(), rel=1e-12)
    with pytest.raises(ValueError, match="labels: expected 0 to 5, got 6"):
        session.train(x[:1], [6])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_spare_output_does_not_move_whatever_its_weights_are(tmp_path: Path, decay: float) -> None:
    net = randomize_classifier(wide_network(), 2)
    options = {"momentum": True, "resample_every": 3}
    session = Session(export(tmp_path / "plan", net, KNOWN, options, momentum=0.5, weight_decay=decay))
    before = safetensors.numpy.load_file(tmp_path / "plan")
    for step in range(6):
        session.train(*images(1, step))
    after = tensors(session, tmp_path / "after")
    for name in (WEIGHT, BIAS):  # [in, out] and [out]
        assert np.array_equal(after[name][..., 6:], before[name][..., 6:])
        assert not np.array_equal(after[name][..., :6], before[name][..., :6])


# -- new classes -----------------------------------------------------------------------------------------


def test_a_file_that_learned_a_name_is_one_that_was_exported_with_it(tmp_path: Path, spare: Path) -> None:
    session = Session(spare)
    assert session.add_class("gnu") == 6
    assert session.classes == [*KNOWN, "gnu"]
    assert session.sizes.classes == 7
    exported = Session(export(tmp_path / "exported", wide_network(), [*KNOWN, "gnu"]))
    for step in range(4):
        x, y = images(1, step, classes=7)
        assert session.train(x, y) == exported.train(x, y)
    assert session.predict(x).shape == (1, 7)
    session.save(tmp_path / "a")
    exported.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert Session(tmp_path / "a").classes == [*KNOWN, "gnu"]


def test_a_new_class_begins_at_zero_and_the_others_keep_their_bits(tmp_path: Path) -> None:
    """Also where the spare output was trained before, on a PC, and has weights and momentum."""
    model = sparsebp.convert(wide_network(), "1MB", input_size=SIZE, momentum=True, resample_every=9).train()
    opt = sparsebp.optim.SGD(model, lr=0.05, momentum=0.9)
    for step in range(4):
        x, y = images(1, step, classes=10)
        sparsebp.fit_step(model, opt, torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y), cross_entropy)
    sparsebp.export(model, tmp_path / "plan", classes=KNOWN, spare_classes=SPARE)
    session = Session(tmp_path / "plan")
    session.train(*images(1, 0))
    before = tensors(session, tmp_path / "before")
    assert np.all(np.any(before[WEIGHT][:, 6:] != 0, axis=0))
    session.add_class("gnu")
    after = tensors(session, tmp_path / "after")
    for name in (WEIGHT, BIAS):
        assert np.all(after[name][..., 6] == 0)
        others = np.arange(10) != 6
        assert np.array_equal(after[name][..., others], before[name][..., others])
    assert [n for n in before if not np.array_equal(before[n], after[n])] == [BIAS, WEIGHT, NAMES, "sparsebp.state"]
    # Without momentum of its own the class moves by its gradient alone, which a picture of its own makes: p - 1 each.
    x, _ = images(1, 50)
    p = torch.from_numpy(session.predict(x)).double().softmax(1)[0, 6].item()
    session.train(x, [6])
    moved = tensors(session, tmp_path / "moved")[BIAS][6]
    assert moved == pytest.approx(0.05 * (1 - p), rel=1e-5)


@pytest.mark.parametrize("convert", [{}, {"sampler": "importance"}, {"gradients": "sum"}], ids=str)
def test_deltas_carry_names_and_the_classifier(tmp_path: Path, convert: dict[str, Any]) -> None:
    base = export(tmp_path / "now", randomize_classifier(wide_network(), 4), KNOWN, convert)
    session = Session(base)

    def check(named: bool, learn: Callable[[], object]) -> None:
        learn()
        session.save_delta(tmp_path / "delta")
        held = safetensors.numpy.load_file(tmp_path / "delta")
        assert (NAMES in held) == named
        apply_delta(tmp_path / "now", tmp_path / "delta", tmp_path / "now")
        copy_of = Session(tmp_path / "now")
        assert copy_of.classes == session.classes
        session_bytes = tmp_path / "saved"
        session.save(session_bytes)
        assert (tmp_path / "now").read_bytes() == session_bytes.read_bytes()

    check(False, lambda: session.train(*images(1, 0)))
    check(True, lambda: session.add_class("gnu"))
    check(False, lambda: session.train(*images(1, 1, classes=7)))
    check(True, lambda: (session.add_class("hen"), session.train(*images(1, 2, classes=8)), session.add_class("ibis")))
    check(False, lambda: None)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("bee", ValueError, "name: there is a class bee already"),
        ("", ValueError, "name: expected 1 to 63 bytes of UTF-8 without zeros, got 0 bytes"),
        ("x" * 64, ValueError, "got 64 bytes"),
        ("a\0b", ValueError, "without zeros"),
        (b"gnu", TypeError, "name: expected a str, got bytes"),
    ],
)
def test_a_name_that_cannot_be_is_refused(spare: Path, name: Any, error: type[Exception], words: str) -> None:
    session = Session(spare)
    with pytest.raises(error, match=words):
        session.add_class(name)
    assert session.classes == KNOWN
    session.save(spare.parent / "after")
    assert (spare.parent / "after").read_bytes() == spare.read_bytes()
    assert session.add_class("ü" * 31 + "x") == 6  # 63 bytes


def test_when_no_output_is_spare_the_message_says_what_to_do(tmp_path: Path, spare: Path) -> None:
    session = Session(spare)
    for i in range(SPARE):
        session.add_class(f"class {i}")
    with pytest.raises(ValueError, match="all 10 outputs are classes; export the plan again with more spare_classes"):
        session.add_class("another")
    plain = Session(export(tmp_path / "plain", known_network(), KNOWN))
    assert plain.classes == KNOWN
    with pytest.raises(ValueError, match="this plan has no spare outputs; export it again with spare_classes"):
        plain.add_class("another")


# -- damage ----------------------------------------------------------------------------------------------


def edited(file: Path, change: Callable[[np.ndarray], Any]) -> bytes:
    """The file with other bytes in its rows of names."""
    data = file.read_bytes()
    rows = safetensors.numpy.load_file(file)[NAMES]
    at = data.index(rows.tobytes())
    change(rows)
    return data[:at] + rows.tobytes() + data[at + rows.size :]


def put(row: int, text: bytes) -> Callable[[np.ndarray], None]:
    def change(rows: np.ndarray) -> None:
        rows[row, : len(text)] = np.frombuffer(text, np.uint8)

    return change


DAMAGE: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "no end": (put(1, b"x" * 64), "row 1 has no end"),
    "behind the end": (lambda rows: rows[1].__setitem__(40, 1), "row 1 goes on behind its end"),
    "a gap": (lambda rows: rows[2].fill(0), "row 3 has a name, and one before it has none"),
    "spare, then named": (put(8, b"x"), "row 8 has a name"),
    "no UTF-8": (put(6, b"\xff"), "row 6 is not UTF-8"),
    "half of a letter": (put(6, b"\xc3"), "row 6 is not UTF-8"),
    "twice": (put(6, b"bee"), "bee is there twice"),
    "none": (lambda rows: rows.fill(0), "there is none"),
}


@pytest.mark.parametrize(("change", "words"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_names_are_refused(
    tmp_path: Path, spare: Path, change: Callable[[np.ndarray], Any], words: str
) -> None:
    data = edited(spare, change)
    with pytest.raises(PlanFileError, match=f"the names of the classes are damaged: .*{words}"):
        Session(data)
    (tmp_path / "damaged").write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        sparsebp.load_file(tmp_path / "damaged")


def test_a_name_that_two_classes_have_is_refused(tmp_path: Path) -> None:
    data = export(tmp_path / "plain", known_network(), KNOWN).read_bytes()
    with pytest.raises(PlanFileError, match="the names of the classes are damaged: bee is there twice; export"):
        Session(data.replace(b'\\"fox\\"', b'\\"bee\\"'))


def test_names_of_another_number_of_outputs_are_refused(spare: Path) -> None:
    data = spare.read_bytes()
    with pytest.raises(PlanFileError, match=r"no tensor \[outputs, 64\]"):
        Session(data.replace(b"[10,64]", b"[20,32]"))
    plain = export(spare.parent / "plain", known_network(), KNOWN).read_bytes()
    with pytest.raises(PlanFileError, match="names for 5 outputs, its network has 6"):
        Session(plain.replace(b', \\"fox\\"]', b"]" + b" " * 9))
