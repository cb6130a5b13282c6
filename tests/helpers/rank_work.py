"""What ranks do in the tests of data-parallel training, and what one process does for comparison."""

from __future__ import annotations

import os
from typing import Any

import sparsebp
import tcp_bytes
import torch
from networks import tiny_mobilenet
from sparsebp.distributed import DataParallel, Ranks, Shard
from torch import nn
from torch.nn.functional import cross_entropy

SIZE, CLASSES = (3, 16, 16), 10
BUDGET = 96 * 1024


def made(dtype: torch.dtype = torch.float64, **settings: Any) -> tuple[sparsebp.SparseModel, sparsebp.optim.SGD]:
    """A small network that trains some channels of most layers, and its optimizer."""
    network = tiny_mobilenet(0, CLASSES, dropout=settings.pop("dropout", 0.0)).to(dtype)
    rates = {key: settings.pop(key) for key in ("lr", "weight_decay", "momentum_of") if key in settings}
    momentum = rates.pop("momentum_of", 0.0)
    usual = {"input_size": SIZE, "gradients": "sum", "max_update_ratio": 0.3}
    model = sparsebp.convert(network, BUDGET * dtype.itemsize // 4, **{**usual, **settings}).train()
    return model, sparsebp.optim.SGD(model, **{"lr": 0.01, **rates}, momentum=momentum)


def images(count: int, step: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures of one step of all ranks together."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(count, *SIZE, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(CLASSES, (count,), generator=generator)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items() if t.is_floating_point()}


def sets_of(model: sparsebp.SparseModel) -> dict[str, list[int]]:
    return {layer.name: model.update_set(layer.name).tolist() for layer in model.plan.layers}


def train(
    ranks: Ranks | None,
    counts: list[int],
    clip: float | None = None,
    skip: float = 1.0,
    **settings: Any,
) -> dict[str, Any]:
    """Steps of so many pictures each, of which a rank takes its share; without ranks one process takes all."""
    dtype = settings.get("dtype", torch.float64)
    model, opt = made(**settings)
    parallel = DataParallel(model, opt, ranks) if ranks is not None else None
    shard = ranks.shard if ranks is not None else Shard()
    before, sets, norms = weights_of(model), [], []
    for step, count in enumerate(counts):
        x, y = images(count, step, dtype)
        own = shard.of(range(count), model.plan.batch_size)
        if own:
            gather(model, opt, x[own], y[own], skip)
        if clip is not None:
            norms.append(opt.clip_grad_norm_(clip))
        opt.step()
        opt.zero_grad()
        sets.append(sets_of(model))
    return {
        "before": before,
        "after": weights_of(model),
        "sets": sets,
        "norms": norms,
        "coverage": model.coverage().total,
        "peak": model.arena.peak,
        "predicted": model.plan.peak_bytes,
        "state": (model.engine.steps, model.engine.turn),
        "traffic": None if parallel is None else parallel.traffic.to_dict(),
    }


def gather(model: sparsebp.SparseModel, opt: sparsebp.optim.SGD, x: Any, y: Any, skip: float) -> None:
    """Forward and backward of some pictures; what is learned already trains nothing."""

    def learned(output: torch.Tensor, own: torch.Tensor) -> bool:
        return bool((output.softmax(1).gather(1, own[:, None]) > skip).all())

    sparsebp.fit_step(model, opt, x, y, cross_entropy, skip=learned, finish=False)


def trained(ranks: Ranks, kept: dict[str, Any], counts: list[int], settings: dict[str, Any]) -> dict[str, Any]:
    """:func:`train` as the work of a rank."""
    return train(ranks, counts, **settings)


def sent_while_training(ranks: Ranks, kept: dict[str, Any], steps: int) -> tuple[int, dict[str, Any]]:
    """What the kernel says was sent in so many steps, and what is reported."""
    model, opt = made(torch.float32)
    parallel = DataParallel(model, opt, ranks)
    before = tcp_bytes.sent()
    for step in range(steps):
        x, y = images(1, step, torch.float32)
        cross_entropy(model(x), y).backward()
        opt.step()
    ranks.gather(0)  # until all have received all
    return tcp_bytes.sent() - before, parallel.traffic.to_dict()


def begin(ranks: Ranks, kept: dict[str, Any], changes: dict[int, dict[str, Any]], what: str = "") -> None:
    """Makes a model with the settings of this rank, and compares it with the others'."""
    settings = dict(changes.get(ranks.rank, {}))
    shift = settings.pop("shift", 0.0)
    model, opt = made(torch.float32, **settings)
    with torch.no_grad():
        next(model.parameters())[0] += shift
    DataParallel(model, opt, ranks)


def draw_apart(ranks: Ranks, kept: dict[str, Any]) -> None:
    """A sampler that is not a function of its turn."""
    model, opt = made(torch.float32, sampler=Own(ranks.rank))
    DataParallel(model, opt, ranks)
    x, y = images(1, 0, torch.float32)
    cross_entropy(model(x), y).backward()
    assert model.engine.turn == 0
    opt.step()
    cross_entropy(model(x), y).backward()
    kept["before"] = weights_of(model)
    try:
        opt.step()
    finally:
        assert all(torch.equal(t, kept["before"][name]) for name, t in weights_of(model).items())


class Own(sparsebp.samplers.Sampler):
    """Draws the first channels and, some ranks, the last from the second draw on."""

    def __init__(self, end: int) -> None:
        super().__init__(0)
        self._end = end

    def __repr__(self) -> str:
        return "Own()"

    def select(self, name: str, channels: int, count: int, turn: int) -> range:
        return range(channels - count, channels) if self._end and turn else range(count)


def with_head(ranks: Ranks | None, kept: dict[str, Any], steps: int) -> dict[str, torch.Tensor]:
    """A head of torch's own behind the network, in the same optimizer; the second rank has no picture at times."""
    model, _ = made()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        head = nn.Linear(CLASSES, 3).double()
    opt = sparsebp.optim.SGD([*model.trained_parameters(), *head.parameters()], lr=0.01, weight_decay=0.01)
    if ranks is not None:
        DataParallel(model, opt, ranks)
    shard = ranks.shard if ranks is not None else Shard()
    for step in range(steps):
        x, y = images(1 + step % 3, step)
        own = shard.of(range(len(x)))
        for i in own:
            (cross_entropy(head(model(x[[i]])), y[[i]] % 3) / len(own)).backward()
        opt.clip_grad_norm_(1.0)
        opt.step()
        opt.zero_grad()
    return {**weights_of(model), **{f"head.{name}": t.detach().clone() for name, t in head.named_parameters()}}


def refuse(ranks: Ranks, kept: dict[str, Any], settings: dict[str, Any]) -> None:
    DataParallel(*made(torch.float32, **settings), ranks)


def late_backward(ranks: Ranks, kept: dict[str, Any]) -> None:
    model, opt = made(torch.float32)
    DataParallel(model, opt, ranks)
    for _ in range(2):
        x, y = images(1, 0, torch.float32)
        cross_entropy(model(x), y).backward()
        opt.clip_grad_norm_(1.0)
    opt.step()


def step_for_ever(ranks: Ranks, kept: dict[str, Any]) -> None:
    """Steps until another rank is gone; then nothing has changed since the last whole step."""
    model, opt = made(torch.float32)
    DataParallel(model, opt, ranks)
    for step in range(10**9):
        x, y = images(1, step, torch.float32)
        cross_entropy(model(x), y).backward()
        whole = weights_of(model)
        try:
            opt.step()
        except Exception:
            assert all(torch.equal(t, whole[name]) for name, t in weights_of(model).items())
            raise
        opt.zero_grad()


def fail(ranks: Ranks, kept: dict[str, Any]) -> None:
    """Leaves the others with a reason."""
    ranks.leave(ValueError("the pictures are gone"))
    os._exit(1)
