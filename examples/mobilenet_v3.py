"""timm's MobileNetV3-Small, pretrained here, adapts to other pictures inside 256 KB: python examples/mobilenet_v3.py.

Plain torch teaches it scikit-learn's handwritten digits, bright on dark. Then half of them are dark on bright, and all
are noisy: sparsebp adapts the network inside BUDGET. Needs timm and scikit-learn.
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
    """Half of them dark on bright, all with noise."""
    draw = torch.Generator().manual_seed(seed)
    sign = torch.randint(2, (len(images), 1, 1, 1), generator=draw) * 2 - 1
    return images * sign + 0.2 * torch.randn(images.shape, generator=draw)


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


def main(budget: str = "256KB", network: str = "mobilenetv3_small_100", side: int = 32, images: int = 1397,
         pretraining: int = 10, epochs: int = 5, lr: float = 0.001, seed: int = 0) -> None:  # fmt: skip
    torch.manual_seed(seed)
    clean, labels = digits(side, seed)
    y, ty = labels[TEST:][:images], labels[:TEST]
    x, tx = changed(clean[TEST:][:images], seed), changed(clean[:TEST], seed + 1)
    model = timm.create_model(network, num_classes=10)
    train(model, clean[TEST:][:images], y, pretraining, 0.003)
    known, before, dense = score(model, clean[:TEST], ty), score(model, tx, ty), copy.deepcopy(model)
    dense_bytes = sparsebp.audit(dense.eval(), x[:1], y[:1]).outside_bytes if side > 32 else None

    model = sparsebp.convert(model, budget, input_size=(3, side, side), normalise=True, seed=seed).train()
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

    table = Table("in plain torch", "accuracy", "bytes of a step")
    table.add_row("pretrained, pictures it knows", f"{known:.1%}", "")
    table.add_row("pretrained, changed pictures", f"{before:.1%}", "")
    table.add_row("adapted by sparsebp", f"{after:.1%}", f"{measured:,}")
    table.add_row("adapted by torch, all of it", f"{score(dense, tx, ty):.1%}", f"{dense_bytes}")
    Console().print(table)
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}; {len(plan.layers)} layers, {plan.update_ratio:.1%} a step")
    print(f"arena: predicted {plan.peak_bytes:,}, measured {measured:,}, budget {plan.budget:,} bytes")


if __name__ == "__main__":
    typer.run(main)
