"""What derivatives kept in few bits are worth, and what they do to gradients: docs/ops.md's table.

python bench/activation_bits.py
"""

from __future__ import annotations

import copy
import statistics
import sys
import warnings
from pathlib import Path
from typing import Annotated

import sparsebp
import torch
import typer
from torch import nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))  # the catalogue is the tests'

SIZE = (3, 64, 64)
BITS = (8, 4, 3, 2)
Bits = Annotated[list[int] | None, typer.Argument(min=2, max=8, help="8, 4, 3 and 2 if none is given.")]


def networks() -> dict[str, nn.Module]:
    """Definitions without weights, with activations of a trained network's size."""
    from networks import randomize_norms
    from zoo import network

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries
        made = {name: network(f"torchvision.{name}")[0] for name in ("mobilenet_v3_small", "efficientnet_b0")}
        for kind in (nn.SiLU, nn.GELU):
            made[f"resnet18, {kind.__name__}"] = with_activation(network("torchvision.resnet18")[0], kind)
    return {name: randomize_norms(model, 0, SIZE) for name, model in made.items()}


def with_activation(model: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """The same network with ``kind`` in place of every ReLU."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, kind())
    return model


def gradients(model: nn.Module, bits: int | None) -> list[torch.Tensor]:
    """Of the weights of all layers, in the network's order."""
    converted = sparsebp.convert(copy.deepcopy(model), "1GB", input_size=SIZE, ratios={"*": 1.0}, activation_bits=bits)
    names = [f"{layer.name}.weight" for layer in converted.plan]
    before = {name: converted.get_parameter(name).detach().clone() for name in names}
    opt = sparsebp.optim.SGD(converted.train(), lr=1.0)
    torch.manual_seed(0)
    cross_entropy(converted(torch.randn(1, *SIZE)), torch.tensor([3])).backward()
    opt.step()
    return [before[name] - converted.get_parameter(name).detach() for name in names]


def main(bits: Bits = None) -> None:
    """Prints for each network and number of bits the bytes, and the relative error of gradients in the L2 norm.

    The first layer's gradient has the error of all activations behind it.
    """
    print("| network | bits | smallest budget | all channels train | error, first layer | error, median layer |")
    print("|---|---|---|---|---|---|")
    for name, model in networks().items():
        exact = gradients(model, None)
        for kept in (None, *(bits or BITS)):
            asked = {"input_size": SIZE, "activation_bits": kept}
            least = sparsebp.min_budget(model, **asked)
            most = sparsebp.plan(model, "1GB", ratios={"*": 1.0}, **asked).peak_bytes
            errors = [
                float((own - other).norm() / other.norm())
                for own, other in zip(gradients(model, kept), exact, strict=True)
            ]
            shares = f"{errors[0]:.1%} | {statistics.median(errors):.1%}" if kept else "exact | exact"
            print(f"| {name} | {kept or 32} | {least:,} | {most:,} | {shares} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
