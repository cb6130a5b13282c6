"""Batches larger than the plan's: micro-batches sum their gradients, or take steps with a share of the rate."""

from __future__ import annotations

import pytest
import sparsebp
import torch
from dense_torch import assert_follows, convert, dense, groups, plans, rates, step, trains, values
from networks import batch, tiny_mobilenet
from sparsebp import SparseModel
from torch import nn
from torch.nn.functional import cross_entropy

RATIOS = {"everything": {"*": 1.0}, "behind a prefix": {"*": 0.0, "features.[456]*": 1.0, "classifier*": 1.0}}
ratios = pytest.mark.parametrize("part", RATIOS)


def micro_batched(part: str, sums: bool) -> tuple[SparseModel, nn.Module, dict[str, float]]:
    model, size = tiny_mobilenet(seed=6).double(), (3, 32, 32)
    reference = dense(model)
    sparse = convert(model, size, sums, ratios=RATIOS[part])
    rate = rates(reference, size, 0.01)
    return sparse, reference, {n: r for n, r in rate.items() if trains(sparse, n)}


@pytest.mark.parametrize("images", [1, 4, 7])
@ratios
def test_micro_batches_with_gradient_sums_are_one_step_on_the_whole_batch(part: str, images: int) -> None:
    model, reference, rate = micro_batched(part, True)
    start = values(reference, rate)
    x, y = batch((3, 32, 32), images)
    ours, torchs = sparsebp.optim.SGD(groups(model, rate), lr=0.0), torch.optim.SGD(groups(reference, rate), 0)
    loss = sparsebp.fit_step(model, ours, x.double(), y, cross_entropy)
    expected = step(reference, torchs, x, y)
    assert abs(loss - expected) < 1e-12
    assert_follows(model, reference, start, 1e-9)


@pytest.mark.parametrize("images", [1, 4, 7])
@ratios
def test_micro_batches_in_place_are_steps_with_their_share_of_the_rate(part: str, images: int) -> None:
    model, reference, rate = micro_batched(part, False)
    start = values(reference, rate)
    x, y = batch((3, 32, 32), images)
    ours = sparsebp.optim.SGD(groups(model, rate), lr=0.0)
    loss, expected = sparsebp.fit_step(model, ours, x.double(), y, cross_entropy), 0.0
    for i in range(0, images, 2):
        count = len(y[i : i + 2])
        share = {n: r * count / images for n, r in rate.items()}
        torchs = torch.optim.SGD(groups(reference, share), lr=0.0)
        expected += step(reference, torchs, x[i : i + 2], y[i : i + 2]) * count / images
    assert abs(loss - expected) < 1e-12
    assert_follows(model, reference, start, 1e-9)


@plans
def test_the_update_set_stays_until_the_batch_ends(sums: bool) -> None:
    model = convert(tiny_mobilenet(), (3, 32, 32), sums, ratios={"*": 0.2})
    opt = sparsebp.optim.SGD(model, lr=0.01)
    x, y = batch((3, 32, 32), 6)
    seen: list[list[int]] = []

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(model.update_set("features.6.0").tolist())
        return cross_entropy(output, target)

    for _ in range(2):
        sparsebp.fit_step(model, opt, x, y, loss_fn)
    assert seen[0] == seen[1] == seen[2]
    assert seen[3] == seen[4] == seen[5]
    assert seen[0] != seen[3]


def test_a_step_can_be_left_open_where_gradients_are_summed() -> None:
    """Two open halves and one step are a step on the whole."""
    x, y = batch((3, 16, 16), 4)
    models = [sparsebp.convert(tiny_mobilenet(0), "1MB", input_size=(3, 16, 16), gradients="sum") for _ in range(2)]
    halves, whole = models
    opt, other = (sparsebp.optim.SGD(model.train(), lr=0.05) for model in models)
    for half in (slice(0, 2), slice(2, 4)):
        sparsebp.fit_step(halves, opt, x[half], y[half], lambda out, own: cross_entropy(out, own) / 2, finish=False)
    assert (halves.engine.steps, halves.engine.images) == (0, 4)
    opt.step()
    sparsebp.fit_step(whole, other, x, y, cross_entropy)
    assert (halves.engine.steps, halves.engine.images) == (1, 0)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(halves.state_dict()[name], value, msg=name)


def test_a_step_in_place_cannot_be_left_open() -> None:
    model = sparsebp.convert(tiny_mobilenet(0), "1MB", input_size=(3, 16, 16)).train()
    opt = sparsebp.optim.SGD(model, lr=0.05)
    with pytest.raises(ValueError, match='finish: expected True, or a model that was converted with gradients="sum"'):
        sparsebp.fit_step(model, opt, *batch((3, 16, 16), 2), cross_entropy, finish=False)
