"""A seed fixes a whole run to the bit, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sparsebp
import torch
from networks import batch, conv_norm, tiny_mobilenet
from sparsebp import SparseModel
from torch import nn
from training import BUDGET, LARGE, SIZE, converted, step

RUNS = {
    "in place": {"budget": BUDGET},
    "gradient sums": {"budget": LARGE, "batch_size": 2, "gradients": "sum"},
    "importance": {"budget": BUDGET * 2, "sampler": "importance", "momentum": True, "resample_every": 3},
    "top-k": {"budget": BUDGET * 2, "sampler": "top-k"},
    "cyclic": {"budget": BUDGET, "sampler": "cyclic"},
}


def run(
    make: Callable[[], SparseModel], steps: int = 50
) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[float]]:
    """Weights, training state and losses after some steps."""
    model = make()
    opt = sparsebp.optim.SGD(model, lr=0.01, momentum=0.9 if model.plan.momentum else 0.0, weight_decay=0.01)
    losses = [step(model, opt, seed=i) for i in range(steps)]
    return {n: t.clone() for n, t in model.state_dict().items()}, model.engine.state(), losses


def same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return all(torch.equal(a[0][n], b[0][n]) for n in a[0]) and a[1:] == b[1:]


def with_dropout(settings: dict[str, Any], seed: int = 0) -> Callable[[], SparseModel]:
    def make() -> SparseModel:
        model = tiny_mobilenet(dropout=0.3)
        return sparsebp.convert(model, input_size=SIZE, seed=seed, **settings).train()

    return make


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_repeats_to_the_bit_with_any_number_of_threads(kind: str, threads: Callable[[int], None]) -> None:
    make = with_dropout(RUNS[kind])
    first = run(make)
    torch.manual_seed(123)  # torch's own generator has no part in it
    assert same(run(make), first)
    threads(2)
    assert same(run(make), first)


@pytest.mark.parametrize("kind", RUNS)
def test_another_seed_is_another_run(kind: str) -> None:
    first, other = (run(with_dropout(RUNS[kind], seed), 3) for seed in (0, 1))
    assert first[2] != other[2]
    assert not same(first, other)


def test_dropout_draws_anew_every_step_and_for_every_image() -> None:
    """With a rate of zero, only dropout changes the loss."""
    model = with_dropout({"budget": LARGE, "batch_size": 2})()
    opt = sparsebp.optim.SGD(model, lr=0.0)
    losses = [step(model, opt, seed=7) for _ in range(4)]
    assert len(set(losses)) == 4
    x = batch(SIZE, 1)[0].expand(2, -1, -1, -1)
    first, second = model(x)
    assert not torch.equal(first, second)


def test_the_seed_of_convert_reaches_dropout_whatever_the_sampler_has() -> None:
    losses, sets = [], []
    for seed in (0, 0, 1):
        settings = {"budget": BUDGET, "sampler": sparsebp.samplers.Random(5), "ratios": {"classifier.1": 0.5}}
        model = with_dropout(settings, seed)()
        opt = sparsebp.optim.SGD(model, lr=0.0)
        losses.append([step(model, opt, seed=7) for _ in range(3)])
        sets.append(model.update_set("classifier.1").tolist())
    assert sets[0] == sets[1] == sets[2]
    assert losses[0] == losses[1]
    assert all(a != b for a, b in zip(losses[0], losses[2], strict=True))


def test_dropout_of_the_frozen_prefix_and_without_gradients_draws_anew_too() -> None:
    net = nn.Sequential(conv_norm(3, 8), nn.Dropout(0.5), conv_norm(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.append(nn.Linear(8, 10))
    model = sparsebp.convert(net, LARGE, input_size=SIZE, ratios={"0.*": 0}).train()
    assert model.prefix_is_random
    x = batch(SIZE, 1)[0].expand(2, -1, -1, -1)
    first, second = model.run_prefix(x)
    assert not torch.equal(first, second)
    with torch.no_grad():
        assert not torch.equal(model(x[:1]), model(x[:1]))


def test_without_dropout_the_loss_of_a_frozen_step_stays() -> None:
    model = converted()
    opt = sparsebp.optim.SGD(model, lr=0.0)
    assert len({step(model, opt, seed=7) for _ in range(4)}) == 1
