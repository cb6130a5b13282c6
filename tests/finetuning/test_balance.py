"""Classes of different sizes: how often pictures come, what they count for, and that a run keeps to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sparsebp
import torch
from runs import CLASSES, SETTINGS, SIDE, finetune, interrupt, left_behind, network, uneven
from sparsebp.finetuning.balance import MOST_TIMES, class_offsets, copies
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
    assert class_offsets(np.array([0, 2, 2]), 4).exp().tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1 / 3])


def test_offsets_are_what_a_network_knows_that_has_seen_nothing_but_how_frequent_classes_are() -> None:
    offsets = class_offsets(UNEVEN, 3)
    assert offsets.softmax(0).tolist() == pytest.approx([3 / 20, 10 / 20, 7 / 20])


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


def test_offsets_are_a_bias_that_the_loss_sees_and_the_network_has_not() -> None:
    """A network whose bias is raised by them learns the same without them."""
    offsets = torch.tensor([-3.0, -1.0, -0.5, -2.0], dtype=torch.float64)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def trained(raised: bool, skip_above: float) -> tuple[float, int, dict[str, torch.Tensor]]:
        original = network()
        bias = original.classifier[1].bias
        with torch.no_grad():
            bias += offsets * raised
        model = sparsebp.convert(original, SETTINGS["budget"], input_size=(3, SIDE, SIDE)).train()
        opt = sparsebp.optim.SGD(model, lr=0.01)
        given = {} if raised else {"class_offsets": offsets}
        loss, learned = train_step(model, opt, images, torch.tensor([2, 0]), skip_above=skip_above, **given)
        sparsebp.restore(model)
        with torch.no_grad():
            bias -= offsets * raised
        return loss, learned, {name: tensor.clone() for name, tensor in original.state_dict().items()}

    loss, learned, weights = trained(False, 1.0)
    like, counted, expected = trained(True, 1.0)
    assert (loss, learned) == (pytest.approx(like, rel=1e-6), counted)
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("raised", "trains"), [(None, 0), (9.0, 0), (-9.0, 1)])
def test_a_picture_is_learned_if_it_is_with_and_without_offsets(raised: float | None, trains: int) -> None:
    model = network()
    with torch.no_grad():
        model.classifier[1].weight.zero_()
        model.classifier[1].bias.copy_(torch.tensor([3.0, 0.0, 0.0, 0.0]))  # a probability of 0.87 for the first class
    sparse = sparsebp.convert(model, SETTINGS["budget"], input_size=(3, SIDE, SIDE)).train()
    opt = sparsebp.optim.SGD(sparse, lr=0.01)
    offsets = None if raised is None else torch.tensor([raised, 0.0, 0.0, 0.0])
    image = torch.zeros(1, 3, SIDE, SIDE)
    assert train_step(sparse, opt, image, torch.tensor([0]), skip_above=0.8, class_offsets=offsets)[1] == trains
    unlikely = train_step(sparse, opt, image, torch.tensor([1]), skip_above=0.8, class_offsets=offsets)
    assert unlikely[1] == 1, "whatever is added to another class"
