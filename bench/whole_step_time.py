"""What it costs to keep the whole step inside a budget: steps beside those of a plan for training alone.

python bench/whole_step_time.py
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import sparsebp
import torch
import typer
from saved_bits import milliseconds
from sparsebp.planning.layouts import Layouts
from sparsebp.planning.pieces import Pieces
from sparsebp.training.convert import read
from torch import nn

CASES = ((128, "256KB"), (160, "384KB"), (224, "512KB"), (128, None))
"""Pixels a side, and the budget; None is the smallest."""
Threads = Annotated[int, typer.Option(min=1, help="To compute with.")]


def network() -> nn.Module:
    """MobileNetV2 with ten classes."""
    torch.manual_seed(0)
    return sparsebp.models.mobilenet_v2(10)


def for_training_alone(plan: sparsebp.Plan) -> sparsebp.SparseModel:
    """The same layers, channels and channel blocks; activations lie beside the budget."""
    model = network()
    request = replace(plan.request, scope="training")
    choice = replace(plan.choice, scope="training", pictures=False, pieces=Pieces())
    made = Layouts(read(model, plan.input_size), model, request).plan(choice, plan.budget)
    return sparsebp.convert(model, plan=made)


def row(size: int, budget: str | None) -> str:
    """One line of the table."""
    options = {"input_size": (3, size, size), "scope": "step"}
    if budget is not None:
        options["max_update_ratio"] = 0.02
    plan = sparsebp.plan(network(), budget or sparsebp.min_budget(network(), **options), **options)
    models = [for_training_alone(plan), sparsebp.convert(network(), plan=plan)]
    training, whole = milliseconds(models, torch.randn(1, 3, size, size), torch.tensor([3]))
    begin = ".".join(plan.layers[0].name.split(".")[:2])
    held = models[0].workspace.capacity
    return (
        f"| {size} | {plan.budget:,} | `{begin}` | {held:,} | {training:.1f} | {whole:.1f} | {whole / training:.2f} |"
    )


def main(threads: Threads = 1) -> None:
    """Prints milliseconds a step, batch 1, medians of steps that take turns, as Markdown."""
    torch.set_num_threads(threads)
    print("| input | budget | span | activations beside it, bytes | training alone, ms | whole step, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    for size, budget in CASES:
        print(row(size, budget))


if __name__ == "__main__":
    typer.run(main)
