"""Classes of different sizes: how often pictures come, what they count for, and that a run keeps to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sparsebp
import torch
from runs import CLASSES, SETTINGS, SIDE, dataset, finetune, interrupt, left_behind, network
from sparsebp.data import Dataset, Subset
from sparsebp.finetuning.balance import MOST_TIMES, class_weights, copies
from sparsebp.finetuning.order import Order
from sparsebp.training.train_step import train_step

UNEVEN = np.array([0] * 3 + [1] * 10 + [2] * 7)


def test_every_picture_comes_and_every_class_as_often_as_the_largest() -> None:
    shown = copies(UNEVEN, 0, 0) % len(UNEVEN)
    assert set(shown) == set(range(len(UNEVEN)))
    assert np.bincount(UNEVEN[shown]).tolist() == [10, 10, 10]
    assert np.ptp(np.bincount(shown)[UNEVEN == 0]) <= 1, "no picture comes twice more than another of its class"


def test_appearances_of_a_picture_have_numbers_of_their_own() -> None:
    places = copies(UNEVEN, 0, 0)
    assert len(set(places.tolist())) == len(places) == 30


def test_which_pictures_come_once_more_is_a_function_of_seed_and_epoch() -> None:
    assert np.array_equal(copies(UNEVEN, 1, 2), copies(UNEVEN, 1, 2))
    assert len({copies(UNEVEN, seed, epoch).tobytes() for seed in (0, 1) for epoch in range(4)}) > 2


def test_a_tiny_class_is_not_shown_without_end() -> None:
    labels = np.array([0] + [1] * 1000)
    assert np.bincount(labels[copies(labels, 0, 0) % 1001]).tolist() == [MOST_TIMES, 1000]


def test_classes_without_pictures_change_nothing() -> None:
    assert np.bincount(copies(np.array([0, 2, 2]), 0, 0) % 3).sum() == 4
    assert class_weights(np.array([0, 2, 2]), 4).tolist() == pytest.approx([1.5, 1, 0.75, 1])


def test_weights_make_classes_count_the_same_and_pictures_one_on_average() -> None:
    weights = class_weights(UNEVEN, 3)
    totals = weights * torch.tensor([3, 10, 7])
    assert totals.tolist() == pytest.approx([20 / 3] * 3)
    assert float(weights[torch.from_numpy(UNEVEN)].mean()) == pytest.approx(1)


def test_a_balanced_order_goes_on_where_pictures_came_and_went() -> None:
    keys = np.arange(100, 120)
    first = Order(20, 4, 0, keys, UNEVEN)
    assert first.steps == 8
    earlier = first.keys
    assert earlier is not None
    same = Order(20, 4, 0, keys, UNEVEN)
    assert same.resume(earlier, 0, 3) == (0, 0)
    assert same.rows(3) == first.rows(3)
    fewer = Order(19, 4, 0, keys[1:], UNEVEN[1:])  # one of the small class is gone
    assert fewer.resume(earlier, 0, 3) == (0, int((earlier == 100).sum()))
    left = [row % 19 for batch in fewer.rows(3) for row in batch]
    assert sorted(keys[1:][left]) == sorted(k for k in earlier[12:].tolist() if k != 100)


def uneven() -> Dataset:
    """Two pictures of one class, five of each other."""
    whole = dataset()
    rows = [i for i, label in enumerate(whole.train.labels.tolist()) if label or i < 8]
    return Dataset(Subset(whole.train, rows), whole.test, whole.classes, whole.kind)


@pytest.mark.parametrize("balance", ["loss", "sampling"])
@pytest.mark.parametrize("cache", ["none", "memory"])
def test_a_balanced_run_is_the_same_with_a_cache_and_after_stops(balance: str, cache: str, tmp_path: Path) -> None:
    def settings() -> dict[str, object]:
        return {"balance": balance, "augment": "flip", "data": uneven()}

    finetune(tmp_path / "whole", **settings())
    interrupt(tmp_path / "run", "stepped", 2, **settings())
    finetune(tmp_path / "run", resume=True, cache=cache, **settings())
    assert left_behind(tmp_path / "run") == left_behind(tmp_path / "whole")


def test_balanced_runs_differ_from_others() -> None:
    ends = {balance: finetune(data=uneven(), balance=balance).history for balance in ("none", "loss", "sampling")}
    assert len({history.loss for history in ends.values()}) == 3
    balanced = np.mean([of["correct"] / of["pictures"] for of in ends["none"].classes.values()])
    assert ends["none"].epochs[-1].balanced == pytest.approx(balanced)
    assert tuple(ends["none"].classes) == CLASSES


def test_a_class_weight_multiplies_the_gradient_of_its_pictures() -> None:
    """In plain steps of one picture that is a multiple of the rate."""

    def trained(rate: float, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        how = {"input_size": (3, SIDE, SIDE), "normalise": False}
        model = sparsebp.convert(network(), SETTINGS["budget"], **how).train()
        opt = sparsebp.optim.SGD(model, lr=rate)
        images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        train_step(model, opt, images, torch.tensor([2]), class_weights=weights)
        return {name: tensor.clone() for name, tensor in sparsebp.restore(model).state_dict().items()}

    weighted, plain = trained(0.01, torch.tensor([1.0, 1.0, 3.0, 1.0])), trained(0.03, None)
    for name, tensor in plain.items():
        torch.testing.assert_close(weighted[name], tensor, rtol=1e-5, atol=1e-6)
