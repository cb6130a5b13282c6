"""Which channels train and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import sparsebp
import torch
from networks import batch, conv_norm, relative_error, tiny_mobilenet
from sparsebp import SparseModel
from sparsebp.samplers import NAMES, Random, Sampler, Static
from torch import nn
from training import SIZE, converted, step

samplers = pytest.mark.parametrize("sampler", NAMES)

LAYERS = ("0.0", "1.0", "2.0")
CHANNELS = {"0.0": 3, "1.0": 17, "2.0": 24}


def small(sampler: str | Sampler, ratio: float = 0.3, **settings: Any) -> SparseModel:
    """Three convolutions of 3, 17 and 24 input channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            conv_norm(3, 17), conv_norm(17, 24, 1), conv_norm(24, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
    settings = {"input_size": (3, 6, 5), "ratios": {"*": ratio}, **settings}
    return sparsebp.convert(model.double(), "256KB", sampler=sampler, **settings).train()


def train(model: SparseModel, opt: sparsebp.optim.SGD, seed: int) -> None:
    x, y = batch(model.plan.input_size, 1, 8, seed)
    nn.functional.cross_entropy(model(x.double()), y).backward()
    opt.step()
    opt.zero_grad()


def sets(model: SparseModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(model.update_set(name).tolist()) for name in LAYERS}


def history(model: SparseModel, steps: int) -> list[dict[str, tuple[int, ...]]]:
    """The update sets of each step."""
    opt = sparsebp.optim.SGD(model, lr=0.01)
    out = []
    for i in range(steps):
        train(model, opt, i)
        out.append(sets(model))
    return out


def draws(model: SparseModel, layer: str, turns: int) -> list[tuple[int, ...]]:
    """The sets of many turns, without training in between."""
    out = []
    for turn in range(turns):
        model.engine.turn = turn
        model.engine.draw()
        out.append(tuple(model.update_set(layer).tolist()))
    return out


@samplers
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.95])
def test_a_set_holds_different_channels_of_the_layer_as_many_as_planned(sampler: str, ratio: float) -> None:
    model = small(sampler, ratio)
    for drawn in history(model, 4):
        for name, channels in drawn.items():
            assert len(set(channels)) == len(channels) == model.plan[name].selected
            assert set(channels) <= set(range(CHANNELS[name]))


@samplers
def test_a_set_stays_from_the_forward_pass_to_the_step_and_the_next_forward_pass_draws(sampler: str) -> None:
    model = small(sampler)
    opt = sparsebp.optim.SGD(model, lr=0.01)
    x, y = batch((3, 6, 5), 1, 8)
    loss = nn.functional.cross_entropy(model(x.double()), y)
    first = sets(model)
    loss.backward()
    assert sets(model) == first
    opt.step()
    assert sets(model) == first
    model(x.double())
    assert (sets(model) == first) == (sampler == "static")


@pytest.mark.parametrize("sampler", ["random", "cyclic"])
def test_resample_every(sampler: str) -> None:
    """Three steps with one set, then another: the one that would have been drawn anyway."""
    slow, fast = history(small(sampler, resample_every=3), 9), history(small(sampler), 3)
    assert slow == [s for s in fast for _ in range(3)]
    assert fast[0] != fast[1]


@samplers
def test_the_seed_decides(sampler: str) -> None:
    assert history(small(sampler, seed=1), 6) == history(small(sampler, seed=1), 6)
    assert history(small(sampler, seed=1), 6) != history(small(sampler, seed=2), 6)


def test_a_sampler_s_own_seed_goes_before_that_of_convert() -> None:
    assert history(small(NAMES["random"](5), seed=1), 3) == history(small("random", seed=5), 3)


def test_equal_layers_draw_differently() -> None:
    model = sparsebp.convert(tiny_mobilenet(), "1MB", input_size=SIZE, ratios={"*": 0.2})
    twins = [layer.name for layer in model.plan.layers if layer.channels == 144]
    assert len({tuple(model.update_set(name).tolist()) for name in twins}) == len(twins) > 1


# -- each policy ---------------------------------------------------------------------------------


def test_random_takes_every_channel_equally_often() -> None:
    turns, model = 3000, small("random")
    counts = torch.zeros(24)
    for channels in draws(model, "2.0", turns):
        counts[list(channels)] += 1
    share = model.plan["2.0"].selected / 24
    # Five standard deviations of a binomial count.
    assert (counts - turns * share).abs().max() < 5 * math.sqrt(turns * share * (1 - share))


def test_random_takes_every_pair_equally_often() -> None:
    """Sets are uniform, not only their members: 24 channels, 2 at a time."""
    turns, model = 6000, small("random", 2 / 24)
    counts: dict[tuple[int, ...], int] = {}
    for pair in draws(model, "2.0", turns):
        counts[pair] = counts.get(pair, 0) + 1
    expected = turns / 276
    assert len(counts) == 276
    chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
    assert abs(chi_square - 275) < 5 * math.sqrt(2 * 275)


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.45])
def test_cyclic_visits_each_channel_once_a_round(ratio: float) -> None:
    model = small("cyclic", ratio)
    for name in LAYERS:
        channels, k = CHANNELS[name], model.plan[name].selected
        turns = math.ceil(channels / k)
        rounds = draws(model, name, 3 * turns)
        orders = []
        for i in range(0, len(rounds), turns):
            one = rounds[i : i + turns]
            whole = [c for s in one[: channels // k] for c in s]
            assert len(set(whole)) == len(whole), "a channel came twice before every channel came once"
            assert {c for s in one for c in s} == set(range(channels))
            orders.append(tuple(one))
        assert len(set(orders)) == 3 or channels == 3, "rounds are not shuffled anew"


def test_static_never_changes() -> None:
    assert len({tuple(s.items()) for s in history(small("static"), 5)}) == 1


def test_static_takes_the_given_channels_in_their_order() -> None:
    model = small(Static(channels={"1.0": [9, 2, 16, 0, 5]}))
    assert [s["1.0"] for s in history(model, 3)] == [(9, 2, 16, 0, 5)] * 3


def test_static_channels_of_a_layer_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels of '1.1', expected layers among .*1\.0"):
        small(Static(channels={"1.1": [0, 1]}))


def test_a_policy_may_stand_on_one_that_is_there() -> None:
    class First(Random):
        def select(self, name: str, channels: int, count: int, turn: int) -> Sequence[int]:
            return range(count)

    model = small(First())
    assert [s["1.0"] for s in history(model, 2)] == [tuple(range(model.plan["1.0"].selected))] * 2


def test_a_draw_that_is_due_waits_for_a_forward_pass() -> None:
    model = converted(resample_every=2)
    opt = sparsebp.optim.SGD(model, lr=0.0)
    name = next(layer.name for layer in model.plan.layers if layer.selected < layer.channels)
    step(model, opt), step(model, opt)
    before = model.update_set(name)
    opt.step()  # as for another model
    step(model, opt)
    assert not torch.equal(model.update_set(name), before)


def test_a_policy_of_ones_own_is_asked_once_a_layer_and_turn() -> None:
    asked: list[tuple[str, int, int, int]] = []

    class Window(Sampler):
        def select(self, name: str, channels: int, count: int, turn: int) -> Sequence[int]:
            asked.append((name, channels, count, turn))
            return [(turn + i) % channels for i in range(count)]

    model = small(Window())
    drawn = history(model, 3)
    selected = {name: model.plan[name].selected for name in LAYERS}
    assert asked == [(n, CHANNELS[n], selected[n], turn) for turn in range(3) for n in LAYERS]
    assert [s["1.0"] for s in drawn] == [tuple((t + i) % 17 for i in range(selected["1.0"])) for t in range(3)]


# -- policies that look at gradients -------------------------------------------------------------


def scores(model: SparseModel) -> dict[str, torch.Tensor]:
    """The running gradient norms, -1 for a channel that was not visited yet."""
    flat = torch.frombuffer(bytearray(model.engine.state()["regions"]["scores"]), dtype=torch.float32)
    return dict(zip(LAYERS, flat.split(list(CHANNELS.values())), strict=True))


@pytest.mark.parametrize("sampler", ["importance", "top-k"])
def test_scores_are_running_norms_of_the_dense_gradient(sampler: str) -> None:
    model = small(sampler)
    reference = small("static").original.double().eval()
    expected = {name: torch.full((n,), -1.0, dtype=torch.float64) for name, n in CHANNELS.items()}
    opt = sparsebp.optim.SGD(model, lr=0.1)
    for seed in range(8):
        reference.load_state_dict(model.state_dict())
        x, y = batch((3, 6, 5), 1, 8, seed)
        weights = [reference.get_submodule(n).weight.requires_grad_() for n in LAYERS]
        grads = torch.autograd.grad(nn.functional.cross_entropy(reference(x.double()), y), weights)
        train(model, opt, seed)
        for name, grad in zip(LAYERS, grads, strict=True):
            chosen = model.update_set(name)
            norm, old = grad.pow(2).sum((0, 2, 3)).sqrt()[chosen], expected[name][chosen]
            expected[name][chosen] = torch.where(old < 0, norm, 0.9 * old + 0.1 * norm)
            assert relative_error(scores(model)[name], expected[name]) < 1e-6


def test_top_k_takes_the_unseen_first_and_then_the_largest() -> None:
    model = small("top-k")
    opt = sparsebp.optim.SGD(model, lr=0.1)
    k = model.plan["2.0"].selected
    for i in range(12):
        before = scores(model)["2.0"]
        train(model, opt, i)
        chosen = set(model.update_set("2.0").tolist())
        unseen = set((before < 0).nonzero().flatten().tolist())
        assert chosen >= unseen or chosen <= unseen
        if len(unseen) < k:
            ranked = [c for c in before.argsort(descending=True).tolist() if c not in unseen]
            assert chosen == unseen | set(ranked[: k - len(unseen)])
    assert not unseen, "some channel was never visited"


def test_importance_draws_in_proportion_to_the_norms() -> None:
    model = small("importance", 0.01)
    history(model, 400)
    weights = scores(model)["2.0"].clamp(min=0).double()
    assert (weights > 0).sum() > 5
    turns = 4000
    counts = torch.zeros(24, dtype=torch.float64)
    for (channel,) in draws(model, "2.0", turns):
        counts[channel] += 1
    share = weights / weights.sum()
    assert ((counts - turns * share).abs() <= 5 * (turns * share * (1 - share)).sqrt() + 1e-9).all()


# -- coverage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["random", "cyclic", "importance", "top-k"])
def test_coverage_counts_what_was_visited_and_grows_to_one(sampler: str) -> None:
    model = small(sampler)
    assert model.coverage().total == 0
    opt = sparsebp.optim.SGD(model, lr=0.01)
    seen: dict[str, set[int]] = {name: set() for name in LAYERS}
    weights = {name: model.get_submodule(name).weight.numel() for name in LAYERS}
    for i in range(150):
        train(model, opt, i)
        for name, channels in sets(model).items():
            seen[name] |= set(channels)
        coverage = model.coverage()
        share = {name: len(s) / CHANNELS[name] for name, s in seen.items()}
        assert coverage.layers == pytest.approx(share)
        expected = sum(share[n] * weights[n] for n in LAYERS) / sum(weights.values())
        assert coverage.total == pytest.approx(expected)
        if coverage.total == 1:
            return
    pytest.fail(f"150 steps covered only {coverage.total:.0%}")


def test_a_forward_pass_alone_covers_nothing() -> None:
    model = small("random")
    model(batch((3, 6, 5), 1)[0].double())
    assert model.coverage().total == 0
