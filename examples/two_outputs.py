"""A network with two outputs and a loss of one's own adapts inside a budget: python examples/two_outputs.py.

It tells which shape a picture shows, and by which angle it is turned: classes, and sine and cosine. Plain torch teaches
it clean pictures. Then they are seen double, darker, and with more noise: sparsebp adapts the network inside BUDGET.
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
from torch.nn.functional import cross_entropy, relu

SIDE = 32
SHAPES = ("arrow", "half disc", "bar with a head")


def pictures(count: int, dim: bool, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [N, 1, SIDE, SIDE], and for each its shape and the angle's sine and cosine, [N, 3]."""
    draw = torch.Generator().manual_seed(seed)
    shape = torch.randint(len(SHAPES), (count,), generator=draw)
    angle = 2 * math.pi * torch.rand(count, generator=draw)
    dy, dx = 6 * torch.rand(2, count, 1, 1, generator=draw) - 3
    axis = torch.arange(SIDE) - (SIDE - 1) / 2
    y, x = axis[:, None] - dy, axis[None, :] - dx
    sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
    along, across = x * cosine + y * sine, y * cosine - x * sine
    arrow = (across.abs() < (9 - along) / 3) & (along > -9)
    half = (along**2 + across**2 < 81) & (along > 0)
    bar = ((across.abs() < 2) & (along.abs() < 9)) | ((along - 7) ** 2 + across**2 < 20)
    image = torch.stack([arrow, half, bar])[shape, torch.arange(count)].float()
    noise = torch.randn(count, SIDE, SIDE, generator=draw)
    image = 0.6 * (image.roll(2, 2) + image) - 0.4 + 0.2 * noise if dim else image + 0.1 * noise
    return image[:, None], torch.stack([shape.float(), angle.sin(), angle.cos()], 1)


class Pose(nn.Module):
    """A residual network that returns the scores of the shapes, and the angle's sine and cosine."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        wide, conv = 2 * width, {"kernel_size": 3, "padding": 1, "bias": False}
        self.stem = nn.Sequential(nn.Conv2d(1, width, stride=2, **conv), nn.BatchNorm2d(width), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(width, wide, stride=2, **conv), nn.BatchNorm2d(wide), nn.ReLU())
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(wide, wide, **conv), nn.BatchNorm2d(wide), nn.ReLU(),
                          nn.Conv2d(wide, wide, **conv), nn.BatchNorm2d(wide)) for _ in range(3)
        )  # fmt: skip
        self.features = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4 * wide, 64), nn.ReLU())
        self.shape, self.angle = nn.Linear(64, len(SHAPES)), nn.Linear(64, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.down(self.stem(x))
        for block in self.body:
            x = relu(x + block(x))
        features = self.features(x)
        return self.shape(features), self.angle(features)


def loss(outputs: tuple[torch.Tensor, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
    """What is wrong about the shape, and how far the angle is off."""
    return cross_entropy(outputs[0], y[:, 0].long()) + 2 * (outputs[1] - y[:, 1:]).square().mean()


@torch.no_grad()
def score(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[str, str]:
    """Share of shapes that are right, and the median error of angles in degrees."""
    shape, angle = (torch.cat(parts) for parts in zip(*(model.eval()(part) for part in x.split(50)), strict=True))
    off = torch.atan2(angle[:, 0], angle[:, 1]) - torch.atan2(y[:, 1], y[:, 2])
    degrees = torch.atan2(off.sin(), off.cos()).abs().median() * 180 / math.pi
    return f"{(shape.argmax(1) == y[:, 0]).double().mean():.1%}", f"{degrees:.1f}"


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    """Plain torch, all of the network."""
    opt = torch.optim.Adam(model.train().parameters(), 0.003)
    for _ in track(range(epochs), "torch"):
        for rows in torch.randperm(len(x)).split(16):
            opt.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            opt.step()


def main(budget: str = "64KB", images: int = 600, epochs: int = 6, lr: float = 0.004, seed: int = 0) -> None:
    torch.manual_seed(seed)
    (x, y), (tx, ty), model = pictures(images, True, seed + 1), pictures(300, True, seed + 2), Pose()
    train(model, *pictures(images, False, seed), epochs)
    dense, before = copy.deepcopy(model), score(model, tx, ty)
    dense_bytes = sparsebp.audit(dense, x[:1], y[:1], loss).outside_bytes

    model = sparsebp.convert(model, budget, input_size=(1, SIDE, SIDE), normalise=True, seed=seed).train()
    opt = sparsebp.optim.SGD(model, lr=lr, normalise=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs * math.ceil(images / 16))
    losses = []
    for _ in track(range(epochs), "sparsebp"):
        for rows in torch.randperm(images).split(16):
            losses.append(sparsebp.fit_step(model, opt, x[rows], y[rows], loss))
            schedule.step()
    after, plan = score(model, tx, ty), model.plan
    train(dense, x, y, epochs)

    table = Table("", "shapes", "degrees off", "bytes of a step")
    table.add_row("before", *before, "")
    table.add_row("sparsebp", *after, f"{model.arena.peak:,}")
    table.add_row("torch, all of it", *score(dense, tx, ty), f"{dense_bytes:,}")
    Console().print(table)
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}; {len(plan.layers)} layers, {plan.update_ratio:.1%} a step")
    print(f"arena: predicted {plan.peak_bytes:,}, measured {model.arena.peak:,}, budget {plan.budget:,} bytes")


if __name__ == "__main__":
    typer.run(main)
