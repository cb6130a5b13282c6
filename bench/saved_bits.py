"""What keeping inputs in 8 bits does to gradients: a step of a plan that does, beside one that keeps masks.

python bench/saved_bits.py $SPARSEBP_DATA 224 512KB
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import sparsebp
import torch
import typer
from sparsebp.data import Preprocess, open_dataset
from sparsebp.planning.layouts import Layouts
from sparsebp.training.convert import read
from torch import nn
from torch.nn.functional import cross_entropy

Data = Annotated[Path, typer.Argument(help="Folder with mobilenet_v2_imagenet.pt and CIFAR-10.")]

Size = Annotated[int, typer.Argument(min=32, help="Pixels a side.")]
Budget = Annotated[str, typer.Argument(help="Of the whole step.")]


def network(data: Path) -> nn.Module:
    """ImageNet's MobileNetV2 with ten outputs that know nothing yet."""
    torch.manual_seed(0)
    model = sparsebp.models.mobilenet_v2(10)
    sparsebp.load_weights(model, data / "mobilenet_v2_imagenet.pt")
    return model


def without_kept_inputs(plan: sparsebp.Plan, model: nn.Module) -> sparsebp.Plan:
    """The same layers and channels with masks, in as many bytes as that takes."""
    choice = replace(plan.choice, pieces=replace(plan.choice.pieces, keeps={}))
    return Layouts(read(model, plan.input_size), model, plan.request).plan(choice, 2**30)


def changes(model: sparsebp.SparseModel, x: torch.Tensor, y: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """What one step changes of each weight that trains."""
    opt = sparsebp.optim.SGD(model.train(), lr=1e-3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cross_entropy(model(x), y).backward()
    opt.step()
    for layer in model.plan:
        name = layer.name + ".weight"
        yield name, (model.state_dict()[name] - before[name]).double()


def milliseconds(models: list[sparsebp.SparseModel], x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Medians of steps that take turns, on one thread."""
    times: list[list[float]] = [[] for _ in models]
    optimizers = [sparsebp.optim.SGD(model.train(), lr=1e-6) for model in models]
    for _ in range(60):
        for model, opt, taken in zip(models, optimizers, times, strict=True):
            begin = time.perf_counter()
            cross_entropy(model(x), y).backward()
            opt.step()
            taken.append(1000 * (time.perf_counter() - begin))
    return [statistics.median(taken) for taken in times]


def main(data: Data, size: Size = 224, budget: Budget = "512KB", pictures: int = 6, cap: float = 0.02) -> None:
    """Prints the relative error of each weight's change, the median of some pictures, and the time of a step."""
    torch.set_num_threads(1)
    options = {"input_size": (3, size, size), "scope": "step", "max_update_ratio": cap, "saved_bits": 8}
    plan = sparsebp.plan(network(data), budget, **options)
    preprocess = Preprocess((size, size), range=(-1, 1), mean=(0, 0, 0), std=(1, 1, 1))
    train = open_dataset(data).train
    errors: dict[str, list[float]] = {}
    for i in range(pictures):
        x = preprocess.normalise(torch.from_numpy(preprocess.fit(train.picture(i)))[None])
        y = torch.tensor([int(train.labels[i])])
        models = [network(data) for _ in range(2)]
        made = (without_kept_inputs(plan, models[0]), plan)
        masks, levels = (sparsebp.convert(m, plan=p) for m, p in zip(models, made, strict=True))
        for (name, exact), (_, rounded) in zip(changes(masks, x, y), changes(levels, x, y), strict=True):
            errors.setdefault(name, []).append(float((exact - rounded).norm() / exact.norm()))
    for name, found in errors.items():
        print(f"{name:<30}{statistics.median(found):.2%}")
    took = milliseconds([masks, levels], x, y)
    print(
        f"masks {masks.plan.peak_bytes:,} bytes, {took[0]:.1f} ms; 8 bits {plan.peak_bytes:,} bytes, {took[1]:.1f} ms"
    )


if __name__ == "__main__":
    typer.run(main)
