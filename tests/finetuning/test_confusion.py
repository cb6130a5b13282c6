"""What test pictures were taken for, counted; accuracies and intervals against published values and plain formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import CLASSES, dataset, finetune
from sparsebp.finetuning import Confusion
from sparsebp.finetuning.confusion import wilson
from sparsebp.finetuning.evaluation import score

#: Rows: what pictures are. 12 ants of which 4 were taken for bees, 120 bees, 1 wasp taken for a bee, no fly.
COUNTS = np.array([[8, 4, 0, 0], [6, 114, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
FOUND = Confusion(("ants", "bees", "wasps", "flies"), COUNTS)


# -- Wilson's interval -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_that_of_newcombe_s_table(correct: int, total: int, low: float, high: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("total", [1, 2, 10, 153, 10_000])
def test_its_ends_are_the_shares_that_would_just_give_such_a_sample(total: int) -> None:
    for correct in {0, 1, total // 3, total - 1, total}:
        for end in wilson(correct, total):
            deviation = math.sqrt(end * (1 - end) / total)
            assert abs(correct / total - end) == pytest.approx(1.959964 * deviation, abs=1e-6)


def test_it_stays_inside_0_and_1_and_the_other_way_round_it_is_mirrored() -> None:
    for correct in range(11):
        low, high = wilson(correct, 10)
        assert 0 <= low < high <= 1
        assert wilson(10 - correct, 10) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 3), (4, 3)])
def test_a_share_of_nothing_or_above_one_is_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"correct: expected 0 to {total} of at least one picture, got {correct}"):
        wilson(correct, total)


# -- counts ----------------------------------------------------------------------------------------


def test_a_class_counts_as_one_in_balanced_accuracy_however_many_pictures_it_has() -> None:
    assert (FOUND.total, FOUND.correct) == (133, 122)
    assert FOUND.accuracy == 122 / 133
    assert FOUND.balanced == pytest.approx((8 / 12 + 114 / 120 + 0 / 1) / 3)  # no fly was there
    assert FOUND.interval == wilson(122, 133)
    assert FOUND.by_class["bees"] == {"pictures": 120, "correct": 114}
    assert FOUND.by_class["flies"] == {"pictures": 0, "correct": 0}


def test_mistakes_come_by_their_number() -> None:
    assert FOUND.mistakes == [("bees", "ants", 6), ("ants", "bees", 4), ("wasps", "bees", 1)]


def test_json_gives_it_back() -> None:
    again = Confusion.from_dict(json.loads(json.dumps(FOUND.to_dict())))
    assert again.classes == FOUND.classes
    assert np.array_equal(again.counts, COUNTS)
    assert FOUND.to_dict()["bees"] == {"ants": 6, "bees": 114}
    assert FOUND.to_dict()["flies"] == {}


@pytest.mark.parametrize("sizes", [[1], [4, 0, 7], [50]])
def test_a_score_counts_every_picture_once(sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(n, 7, generator=generator), torch.randint(7, (n,), generator=generator)) for n in sizes]
    told: list[tuple[int, int]] = []

    def seen(output: torch.Tensor, labels: torch.Tensor) -> None:
        told.extend(zip(labels.tolist(), output.argmax(1).tolist(), strict=True))

    found = score(batches, lambda x: x, 7, seen=seen)
    expected = np.zeros((7, 7), int)
    for x, labels in batches:
        for logits, label in zip(x.numpy(), labels.tolist(), strict=True):
            expected[label, logits.argmax()] += 1
    assert np.array_equal(found.counts.numpy(), expected)
    assert found.pictures.tolist() == expected.sum(1).tolist()
    assert found.correct.tolist() == expected.diagonal().tolist()
    assert len(told) == sum(sizes)
    assert all(expected[pair] for pair in told)


# -- of a run --------------------------------------------------------------------------------------


def test_a_run_keeps_its_last_test_and_reports_it(tmp_path: Path) -> None:
    result = finetune(tmp_path / "run")
    last = result.history.last_test
    assert last is not None
    assert last.classes == CLASSES == result.classes
    assert last.accuracy == result.accuracy
    assert last.by_class == result.history.classes
    images = torch.from_numpy(dataset().test.images)  # type: ignore[attr-defined]
    x = (images / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    predicted = result.model(x.permute(0, 3, 1, 2)).argmax(1)
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (dataset().test.labels, predicted.numpy()), 1)
    assert np.array_equal(last.counts, expected)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["test"] == last.summary()
    assert report["test"]["confusion"] == report["history"]["confusion"]
    assert report["data"]["classes"] == list(CLASSES)
    assert report["settings"]["preprocess"]["size"] == [16, 16]


def test_a_run_that_an_earlier_version_finished_has_none() -> None:
    old = finetune().history.to_dict()
    del old["confusion"]
    assert type(finetune().history).from_dict(old).last_test is None
