"""timm's MobileNetV3-Small, pretrained here, adapts to other pictures inside 256 KB: python examples/mobilenet_v3.py.

Plain torch teaches it scikit-learn's handwritten digits. Then the camera lies on its side, and its pictures are darker
and noisier: sparsebp adapts the network inside BUDGET. Needs timm and scikit-learn.
"""

import copy
import math

import sparsebp
import timm
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

TEST = 400


def digits(side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 as [N, 3, side, side] in [-1, 1], shuffled, and their labels."""
    found = load_digits()
    images = interpolate(torch.from_numpy(found.images).float()[:, None] / 8 - 1, size=(side, side), mode="bilinear")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order].expand(-1, 3, -1, -1), torch.from_numpy(found.target)[order].long()


def changed(images: torch.Tensor, seed: int) -> torch.Tensor:
    """On their side, darker, with noise."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return 0.8 * images.rot90(1, (2, 3)) - 0.2 + 0.2 * noise


@torch.no_grad()
def score(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return float((torch.cat([model.eval()(part).argmax(1) for part in x.split(50)]) == y).double().mean())


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float) -> None:
    """Plain torch, all of the network."""
    opt = torch.optim.Adam(model.train().parameters(), lr)
    for _ in track(range(epochs), "torch"):
        for rows in torch.randperm(len(x)).split(32)[: len(x) // 32]:
            opt.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            opt.step()


def main(budget: str = "256KB", network: str = "mobilenetv3_small_100", side: int = 32, ratio: float = 0.05,
         images: int = 1397, pretraining: int = 8, epochs: int = 4, lr: float = 0.002,
         seed: int = 0) -> None:  # fmt: skip
    torch.manual_seed(seed)
    clean, labels = digits(side, seed)
    y, ty = labels[TEST:][:images], labels[:TEST]
    x, tx = changed(clean[TEST:][:images], seed), changed(clean[:TEST], seed + 1)
    model = timm.create_model(network, num_classes=10)
    train(model, clean[TEST:][:images], y, pretraining, 0.003)
    known, before, dense = score(model, clean[:TEST], ty), score(model, tx, ty), copy.deepcopy(model)
    model = sparsebp.convert(
        model, budget, input_size=(3, side, side), max_update_ratio=ratio, normalise=True, seed=seed
    ).train()
    opt = sparsebp.optim.SGD(model, lr=lr, normalise=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs * math.ceil(len(x) / 16))
    losses = []
    for _ in track(range(epochs), "sparsebp"):
        for rows in torch.randperm(len(x)).split(16):
            losses.append(sparsebp.fit_step(model, opt, x[rows], y[rows], cross_entropy))
            schedule.step()
    plan, measured = model.plan, model.arena.peak
    after = score(sparsebp.restore(model), tx, ty)  # timm's own modules, in plain torch
    train(dense, x, y, epochs, 0.001)
    dense_bytes = sparsebp.audit(dense, x[:2], y[:2]).outside_bytes  # of one its norms make no statistics

    table = Table("in plain torch", "accuracy", "bytes of a step")
    table.add_row("pretrained, pictures it knows", f"{known:.1%}", "")
    table.add_row("pretrained, changed pictures", f"{before:.1%}", "")
    table.add_row("adapted by sparsebp", f"{after:.1%}", f"{measured:,}")
    table.add_row("adapted by torch, all of it", f"{score(dense, tx, ty):.1%}", f"{dense_bytes:,}")
    Console().print(table)
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}; {len(plan.layers)} layers, {plan.update_ratio:.1%} a step")
    print(f"arena: predicted {plan.peak_bytes:,}, measured {measured:,}, budget {plan.budget:,} bytes")


if __name__ == "__main__":
    typer.run(main)
