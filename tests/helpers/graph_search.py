"""Random graphs beside float64 torch: what a step of each does, and the smallest one that does something else."""

from __future__ import annotations

import argparse
import copy
import itertools
import random
import sys
import time
from collections import Counter

import sparsebp
import torch
from any_network import channel_mask, gradients, loss, reference, stirred, tensors
from random_graphs import Graph, random_graph
from sparsebp import SparseModel
from sparsebp.capture.graph import build
from torch import nn

LIMITS = {torch.float64: 1e-6, torch.float32: 5e-3}
"""Of the norm of an output or a gradient: an activation may lie within rounding of an edge."""


class WrongError(AssertionError):
    """What a converted network does that torch does not."""


def check(graph: Graph, seed: int) -> str:
    """One step of a network; ``native``, ``in part`` if torch runs some of it, or why it was refused.

    A network that differs, and in which a norm divides by its epsilon alone, is ``constant``: there it makes what is
    rounding in front of it some hundred times larger.

    Raises:
        WrongError: it differs from torch, or from its plan.
    """
    torch.manual_seed(seed)
    model = stirred(graph.module().double(), graph.size)
    x = torch.randn(2, *graph.size, dtype=torch.float64)
    with torch.no_grad():
        if not all(bool(output.isfinite().all()) for output in tensors(model(x))):
            return "infinite: a window of a maximum lies outside of its image"
    try:
        return _checked(model, graph, random.Random(seed))
    except WrongError as error:
        if not _divides_by_epsilon(model):
            raise
        return f"constant: {error}"


def _checked(model: nn.Module, graph: Graph, rng: random.Random) -> str:
    dtype = rng.choice([torch.float64, torch.float64, torch.float32])
    x = torch.randn(2, *graph.size, dtype=dtype)
    try:
        sparse = _converted(copy.deepcopy(model).to(dtype), graph, rng)
    except sparsebp.UnsupportedModel as refusal:
        if "something else than in torch" in str(refusal):
            raise WrongError(str(refusal)) from refusal
        return f"refused: {' '.join(str(refusal).split())}"
    dense = reference(model, [n for n, p in sparse.named_parameters() if p.requires_grad])
    if dtype == torch.float32:  # the same numbers for both
        dense.load_state_dict(sparse.state_dict())
    _check_step(sparse, dense, x, LIMITS[dtype])
    if sparse.arena.peak != sparse.plan.peak_bytes:
        raise WrongError(f"the arena held {sparse.arena.peak} bytes, planned were {sparse.plan.peak_bytes}")
    return "native" if sparse.plan.reach.trainable == sparse.plan.reach.layers else f"in part: {sparse.plan.reach}"


def _divides_by_epsilon(model: nn.Module) -> bool:
    """Whether a batch norm has a channel in which its inputs did not differ."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return any(n.running_var is not None and bool((n.running_var < n.eps).any()) for n in norms)


def _converted(model: nn.Module, graph: Graph, rng: random.Random) -> SparseModel:
    built = build(model, graph.size)
    ratio = rng.choice([1.0, 1.0, 0.6, 0.3])
    settings = {
        "input_size": graph.size,
        "batch_size": 2,
        "ratios": {"*": ratio} if built.native_begin == 0 else None,
        "gradients": rng.choice(["sum", "in_place"]),
        "scope": rng.choice(["training", "training", "step"]) if built.native_begin == 0 else "training",
    }
    return sparsebp.convert(model, sparsebp.plan(model, "1GB", **settings).peak_bytes, **settings).train()


def _check_step(sparse: SparseModel, dense: nn.Module, x: torch.Tensor, limit: float) -> None:
    before = {n: t.clone() for n, t in sparse.state_dict().items()}
    output, expected = sparse(x), dense(x.double())
    for got, wanted in zip(tensors(output), tensors(expected), strict=True):
        _compare("the output", got, wanted, limit)
    found = gradients(dense, x.double(), 0)
    rounded = [found] if x.dtype == torch.float64 else _rounded(dense, x)
    opt = sparsebp.optim.SGD(sparse, lr=1.0)
    loss(output, 0).backward()
    opt.step()
    sets = {f"{layer.name}.weight": sparse.update_set(layer.name) for layer in sparse.plan.layers}
    largest = max((float(g.norm()) for g in found.values()), default=0.0)
    for name, value in sparse.state_dict().items():
        if name in sets:
            mask = channel_mask(sparse.get_submodule(name.removesuffix(".weight")), sets[name])
        else:
            mask = torch.full_like(value, name in found, dtype=torch.bool)
        if not torch.equal(value[~mask], before[name][~mask]):
            raise WrongError(f"{name}: a number that is not selected has changed")
        if name in found:
            rounding = torch.finfo(x.dtype).eps * float(before[name].norm()) + limit * 1e-2 * largest
            rounding += 2 * max(float((other[name] - found[name]).norm()) for other in rounded)
            _compare(f"the gradient of {name}", (before[name] - value)[mask], found[name][mask], limit, rounding)


def _rounded(dense: nn.Module, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Gradients as float32 may make them: torch's own, and those of inputs within rounding.

    Where an activation lies within rounding of an edge, some of them fall on the other side.
    """
    eps = torch.finfo(x.dtype).eps
    near = [x.double() * (1 + eps * torch.randn_like(x.double())) for _ in range(8)]
    return [gradients(copy.deepcopy(dense).to(x.dtype), x, 0), *(gradients(dense, other, 0) for other in near)]


def _compare(what: str, got: torch.Tensor, wanted: torch.Tensor, limit: float, rounding: float = 1e-12) -> None:
    got, wanted = got.detach().double(), wanted.detach()
    error, allowed = float((got - wanted).norm()), limit * float(wanted.norm()) + rounding
    if not error <= allowed:
        raise WrongError(f"{what}: it is off by {error:.2g}, allowed are {allowed:.2g}")


def outcome(graph: Graph, seed: int) -> str:
    """What ``check`` returned; of whatever it raised, its class and text."""
    threads = 2 if seed % 10 == 0 else 1
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return check(graph, seed)
    except Exception as error:
        return f"WRONG {type(error).__name__}: {' '.join(str(error).split())}"
    finally:
        torch.set_num_threads(before)


def smallest(graph: Graph, seed: int) -> Graph:
    """Drops steps as long as an error of that class is left."""
    kind = outcome(graph, seed).partition(":")[0]
    for smaller in graph.smaller():
        try:
            smaller.module().eval()(torch.zeros(2, *graph.size))
        except Exception:
            continue
        if outcome(smaller, seed).startswith(kind):
            return smallest(smaller, seed)
    return graph


def main() -> None:
    """Checks seeds one after the other; ends with 1 if any went wrong."""
    parser = argparse.ArgumentParser(description="Checks random networks beside float64 torch.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--faults", type=int, default=5, help="stop after so many that are wrong")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    examples: dict[str, int] = {}
    began = time.monotonic()
    for seed in itertools.islice(itertools.count(asked.start), asked.seeds):
        graph = random_graph(seed)
        what = outcome(graph, seed)
        kind, _, why = what.partition(":")
        counts[kind.split()[0]] += 1
        if why and not what.startswith("WRONG"):
            refusals[text := f"{kind}:{why[:200]}"] += 1
            examples.setdefault(text, seed)
        if what.startswith("WRONG"):
            found = smallest(graph, seed)
            print(f"seed {seed}: {what}\n  smallest: {outcome(found, seed)}\n  input {graph.size}\n{found.source()}\n")
            if counts["WRONG"] >= asked.faults:
                break
    for text, count in refusals.most_common():
        print(f"{count:5d}  {text} (seed {examples[text]})")
    print(f"{sum(counts.values())} networks in {time.monotonic() - began:.0f} s: {dict(counts)}")
    sys.exit(counts["WRONG"] > 0)


if __name__ == "__main__":
    main()
