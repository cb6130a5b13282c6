"""A U-Net that segments shapes meets another camera, and adapts inside a budget: python examples/segmentation.py.

Plain torch teaches it discs and squares that are brighter than their background. Then they are darker, on a gradient,
and noisier: sparsebp adapts the network inside BUDGET. Scores are mean intersection over union of the three classes.
"""

import copy
import math

import sparsebp
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

SIDE = 32
CLASSES = 3  # background, disc, square


def scenes(count: int, dark: bool, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [N, 1, SIDE, SIDE] with a disc and a square each, and the class of every pixel."""
    draw = torch.Generator().manual_seed(seed)
    axis = torch.arange(SIDE).float()
    labels = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    for kind in (1, 2):
        radius, y, x = torch.rand(3, count, 1, 1, generator=draw)
        dy, dx = axis[:, None] - 6 - 20 * y, axis[None, :] - 6 - 20 * x
        distance = (dy**2 + dx**2).sqrt() if kind == 1 else torch.maximum(dy.abs(), dx.abs())
        labels[distance < 3 + 4 * radius] = kind
    shapes, noise = (labels > 0).float(), torch.randn(count, SIDE, SIDE, generator=draw)
    if dark:
        angle = torch.rand(count, 1, 1, generator=draw) * 2 * math.pi
        slope = (axis[None, :, None] * angle.sin() + axis[None, None, :] * angle.cos()) / SIDE
        return (slope - 0.8 * shapes + 0.3 * noise)[:, None], labels
    return (shapes + 0.15 * noise)[:, None], labels


class Double(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = nn.ModuleList([Double(1, width), Double(width, 2 * width), Double(2 * width, 4 * width)])
        self.up = nn.ModuleList([Double(6 * width, 2 * width), Double(3 * width, width)])
        self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.down[0](x)
        middle = self.down[1](self.pool(fine))
        x = self.down[2](self.pool(middle))
        x = self.up[0](torch.cat([interpolate(x, scale_factor=2), middle], 1))
        x = self.up[1](torch.cat([interpolate(x, scale_factor=2), fine], 1))
        return self.head(x)


@torch.no_grad()
def score(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Mean intersection over union."""
    found = torch.cat([model.eval()(part).argmax(1) for part in x.split(32)])
    each = [((found == c) & (y == c)).sum() / ((found == c) | (y == c)).sum() for c in range(CLASSES)]
    return float(torch.stack(each).mean())


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float = 0.01) -> None:
    """Plain torch, all of the network."""
    opt = torch.optim.Adam(model.train().parameters(), lr)
    for _ in track(range(epochs), "torch"):
        for rows in torch.randperm(len(x)).split(16):
            opt.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            opt.step()


def main(budget: str = "192KB", images: int = 320, epochs: int = 6, lr: float = 0.015, seed: int = 0) -> None:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = scenes(images, True, seed + 1), scenes(100, True, seed + 2)
    model = UNet()
    train(model, *scenes(images, False, seed), epochs)
    dense = copy.deepcopy(model)
    before, dense_bytes = score(model, tx, ty), sparsebp.audit(model, x[:1], y[:1]).outside_bytes

    model = sparsebp.convert(model, budget, input_size=(1, SIDE, SIDE), normalise=True, seed=seed).train()
    opt = sparsebp.optim.SGD(model, lr=lr, normalise=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs * math.ceil(images / 16))
    losses = []
    for _ in track(range(epochs), "sparsebp"):
        for rows in torch.randperm(images).split(16):
            losses.append(sparsebp.fit_step(model, opt, x[rows], y[rows], cross_entropy))
            schedule.step()
    after, plan = score(model, tx, ty), model.plan
    train(dense, x, y, epochs)

    table = Table("", "mean IoU", "bytes of a step")
    table.add_row("before", f"{before:.3f}", "")
    table.add_row("sparsebp", f"{after:.3f}", f"{model.arena.peak:,}")
    table.add_row("torch, all of it", f"{score(dense, tx, ty):.3f}", f"{dense_bytes:,}")
    Console().print(table)
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}; {len(plan.layers)} layers, {plan.update_ratio:.1%} a step")
    print(f"arena: predicted {plan.peak_bytes:,}, measured {model.arena.peak:,}, budget {plan.budget:,} bytes")


if __name__ == "__main__":
    typer.run(main)
