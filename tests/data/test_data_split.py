"""Which pictures are held out: a matter of their own names, so that none changes sides when others join them."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sparsebp.data import Files, open_dataset, open_tests
from sparsebp.data.split import BY_DRAW, Split

SHARE = 0.2


def divide(
    names: list[str], share: float = SHARE, seed: int = 0, learned: tuple[str, ...] = (), rule: str = "name"
) -> tuple[set[str], set[str]]:
    """Names to train on and names held out of one class."""
    known = np.isin(np.array(names, dtype=object), learned)
    train, test = Split(share, seed, rule).divide(names, np.zeros(len(names), np.int64), known)
    assert sorted([*train, *test]) == list(range(len(names)))
    return {names[i] for i in train}, {names[i] for i in test}


def numbered(count: int, pattern: str = "{}.png") -> list[str]:
    return [pattern.format(i) for i in range(count)]


def write(root: Path, classes: dict[str, list[str]]) -> Path:
    for label, names in classes.items():
        for name in names:
            (root / label / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(root / label / name, "PNG")
    return root


def names_of(source: Any) -> set[str]:
    return {"/".join(Path(source.name(i)).parts[-2:]) for i in range(len(source))}


names = st.lists(st.text("ab01234567", min_size=1, max_size=6), min_size=2, max_size=40, unique=True)


@given(names, names, st.sampled_from([0.05, 0.2, 0.5]), st.integers(0, 5))
def test_no_picture_that_was_learned_is_held_out_when_others_join(
    first: list[str], more: list[str], share: float, seed: int
) -> None:
    train, test = divide(first, share, seed)
    _, later = divide([*first, *(name for name in more if name not in first)], share, seed)
    everything_was_below_the_share = len(train) == 1
    assert everything_was_below_the_share or not train & later
    assert test, "two pictures are enough to hold one out"


@given(names, names, st.integers(0, 5))
def test_what_was_learned_before_is_never_held_out(first: list[str], more: list[str], seed: int) -> None:
    """Whatever came and went: even where a class had one picture, or lost all that were held out."""
    whole = sorted({*first, *more})
    train, test = divide(whole, SHARE, seed, learned=tuple(first))
    assert set(first) <= train
    assert bool(test) == bool(set(more) - set(first))


@pytest.mark.parametrize("pattern", ["{}.png", "{:05}.jpg", "IMG_{}.JPG", "walk/frame-{:03} (left).png"])
@pytest.mark.parametrize("count", [10, 12, 20, 40, 100])
def test_names_that_count_up_are_spread_evenly(pattern: str, count: int) -> None:
    """A hash of whole names would hold out 0 to 9 of 20."""
    for seed in range(20):
        held = len(divide(numbered(count, pattern), SHARE, seed)[1])
        assert abs(held - SHARE * count) <= (2.5 if count <= 40 else 4)


@pytest.mark.parametrize("step", [10, 13, 89, 1000])
def test_names_in_steps_are_held_out_in_their_share(step: int) -> None:
    held = [len(divide([f"{step * i}.png" for i in range(50)], SHARE, seed)[1]) for seed in range(100)]
    assert np.mean(held) == pytest.approx(10, abs=1)


def test_classes_of_any_size_have_something_on_either_side() -> None:
    assert [len(part) for part in divide(["only.png"])] == [1, 0]
    for count, share, seed in itertools.product(range(2, 9), (0.01, 0.2, 0.5, 0.99), range(9)):
        train, test = divide(numbered(count), share, seed)
        assert train
        assert test


def test_another_seed_holds_out_others_and_the_class_has_no_say() -> None:
    held = [frozenset(divide(numbered(30), seed=seed)[1]) for seed in range(4)]
    assert len(set(held)) == 4
    labels = np.arange(30) % 2
    _, test = Split(SHARE, 0).divide([f"{i // 2}.png" for i in range(30)], labels, np.zeros(30, dtype=bool))
    assert len(set(test // 2)) == len(test) / 2, "a picture that gets another label stays on its side"


def test_a_name_spelt_in_another_way_is_the_same() -> None:
    whole = [f"{i}é{i % 3}.png" for i in range(30)]
    apart = [unicodedata.normalize("NFD", name) for name in whole]
    assert apart != whole
    assert {unicodedata.normalize("NFC", name) for name in divide(apart)[1]} == divide(whole)[1]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 0.99), st.integers(0, 9))
def test_the_draw_of_earlier_versions_is_still_theirs(drawn: list[int], share: float, seed: int) -> None:
    """Complete, disjoint, and of each class the share to the nearest picture."""
    labels = np.array(drawn)
    nothing = np.zeros(len(labels), dtype=bool)
    train, test = Split(share, seed, BY_DRAW).divide([""] * len(labels), labels, nothing)
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label in set(drawn):
        whole, held = drawn.count(label), int((labels[test] == label).sum())
        assert abs(held - whole * share) <= 1
        assert held == 0 if whole == 1 else 1 <= held <= whole - 1


def test_the_draw_is_bit_for_bit_what_it_was() -> None:
    _, test = Split(0.2, 3, BY_DRAW).divide([""] * 12, np.arange(12) % 2, np.zeros(12, dtype=bool))
    expected = [np.random.default_rng((3, label)).choice(np.arange(label, 12, 2), 1, replace=False) for label in (0, 1)]
    assert test.tolist() == sorted(int(chosen[0]) for chosen in expected)


def test_an_unknown_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split: expected name or draw, got 'luck'"):
        open_dataset(write(tmp_path, {"a": numbered(2), "b": numbered(2)}), split="luck")


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_grows_tests_nothing_that_was_learned(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": numbered(40), "b": numbered(40)})
    before = open_dataset(root)
    write(root, {"a": ["new.png", *numbered(80)], "b": ["new.png"], "c": numbered(10)})
    after = open_dataset(root)
    assert not names_of(after.test) & names_of(before.train)
    assert names_of(before.test) <= names_of(after.test)


def test_keys_follow_a_picture_through_copies_but_not_through_changes(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "café")
    for place, label in (("here", "café"), ("there", apart)):
        write(tmp_path / place, {label: ["1.png", "2.png", "3.png"]})
    changed = tmp_path / "there" / apart
    data = bytearray((changed / "2.png").read_bytes())
    data[-20] ^= 1

    def keys(place: str, label: str) -> np.ndarray:
        return Files(tmp_path / place, [f"{label}/{i}.png" for i in (1, 2, 3)], [0, 0, 0]).keys()

    assert keys("there", apart).tolist() == keys("here", "café").tolist()
    (changed / "1.png").write_bytes(b"another size")
    (changed / "2.png").write_bytes(data)
    (changed / "3.png").unlink()
    assert not (keys("there", apart) == keys("here", "café")).any()
    assert len(set(keys("here", "café"))) == 3


def test_keeping_what_was_learned_moves_it_to_the_training_set(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path, {"a": numbered(20), "b": numbered(20)}))
    whole = data.everything
    assert isinstance(whole, Files)
    held = whole.keys()[:5]
    kept = data.keeping(held)
    assert {f"a/{name}" for name in sorted(numbered(20))[:5]} <= names_of(kept.train)
    assert len(kept.train) + len(kept.test) == len(whole)
    assert len(kept.keeping(whole.keys()).test) == 0
    assert set(held) <= set(kept.keeping(whole.keys()[7:9]).learned.tolist())


def test_to_test_with_one_class_will_do_and_classes_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    data = open_tests(write(tmp_path, {"a": numbered(10)}))
    assert data.classes == ("a", "b")
    assert len(data.everything) == 10
    write(tmp_path / "two" / "train", {"a": ["1.png"]})
    write(tmp_path / "two" / "test", {"a": ["1.png"], "c": ["1.png"]})
    two = open_tests(tmp_path / "two")
    assert two.classes == ("a", "c")
    assert two.test.labels.tolist() == [0, 1]
    assert two.everything.labels.tolist() == [0, 0, 1]
    assert [Path(two.everything.name(i)).parts[-3] for i in range(3)] == ["train", "test", "test"]
