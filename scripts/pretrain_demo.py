"""Pretrains the demo's network on printed digits and writes the weights that the package ships.

The images are synthetic: the digits of the font that Pillow bundles, distorted, blurred and noisy.
Nothing is downloaded. Takes two to four minutes on one core:

    python scripts/pretrain_demo.py
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import safetensors.torch
import torch
import typer
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track
from sparsebp.finetuning.demo import SIDE, architecture, to_input
from sparsebp.finetuning.evaluation import score
from torch import Tensor, nn
from torch.nn.functional import affine_grid, conv2d, cross_entropy, grid_sample, interpolate

CELL = 64  # twice the network's size, so that distortion does not show the pixels of a glyph
FONT_SIZE = 44  # with the thickest stroke, the tallest digit still fits the cell
STROKES = 4
BATCH = 64
STEPS_PER_EPOCH = 64
PEAK_LEARNING_RATE = 0.2
WEIGHT_DECAY = 2e-4
STATISTICS_BATCHES = 50
ASSET = Path(__file__).parents[1] / "python" / "sparsebp" / "finetuning" / "assets" / "demo.safetensors"


def glyphs() -> Tensor:
    """The digits, white on black, strokes from thin to bold: ``[10, STROKES, CELL, CELL]``."""
    font = ImageFont.load_default(size=FONT_SIZE)
    drawn = np.zeros((10, STROKES, CELL, CELL), dtype=np.float32)
    for digit in range(10):
        for stroke in range(STROKES):
            image = Image.new("L", (CELL, CELL))
            ImageDraw.Draw(image).text(
                (CELL / 2, CELL / 2),
                str(digit),
                fill=255,
                font=font,
                anchor="mm",
                stroke_width=stroke,
            )
            drawn[digit, stroke] = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(drawn)


def printed_digits(font: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Fresh images ``[count, SIDE, SIDE]`` in [0, 1] and their labels ``[count]``."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    labels = torch.randint(10, (count,), generator=generator)
    strokes = torch.randint(STROKES, (count,), generator=generator)

    angle = uniform(-math.pi / 9, math.pi / 9, count)
    cos, sin = angle.cos(), angle.sin()
    # Rotation times a scaling shear. It says where an output pixel looks: below 1 enlarges.
    width, height = uniform(0.5, 1.3, count), uniform(0.55, 1.1, count)
    shear = uniform(-0.4, 0.4, count)
    shift_x, shift_y = uniform(-0.12, 0.12, count), uniform(-0.12, 0.12, count)
    rows = (
        torch.stack((cos * width, cos * shear - sin * height, shift_x), 1),
        torch.stack((sin * width, sin * shear + cos * height, shift_y), 1),
    )
    grid = affine_grid(torch.stack(rows, 1), [count, 1, SIDE, SIDE], align_corners=False)
    # A coarse random field bends the strokes, as a hand would.
    field = torch.randn(count, 2, 5, 5, generator=generator) * uniform(0, 0.12, count, 1, 1, 1)
    bend = interpolate(field, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    grid = grid + bend.permute(0, 2, 3, 1)
    images = grid_sample(font[labels, strokes][:, None], grid, align_corners=False)

    images = blurred(images, sigma=uniform(0.3, 1.8, 1).item())
    images = images / images.amax((2, 3), keepdim=True).clamp_min(1e-3)
    dark, bright = uniform(0, 0.25, count, 1, 1, 1), uniform(0.6, 1, count, 1, 1, 1)
    noise = torch.randn(images.shape, generator=generator) * uniform(0, 0.15, count, 1, 1, 1)
    return (dark + (bright - dark) * images + noise).clamp(0, 1)[:, 0], labels


def blurred(images: Tensor, sigma: float) -> Tensor:
    """``[N, 1, H, W]`` under a Gaussian of ``sigma`` pixels, cut off at three pixels."""
    kernel = torch.exp(-(torch.arange(-3, 4) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    images = conv2d(images, kernel.view(1, 1, 1, 7), padding=(0, 3))
    return conv2d(images, kernel.view(1, 1, 7, 1), padding=(3, 0))


def convolutions_with_norms(model: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution with the batch norm that follows it."""
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return list(zip(convolutions, norms, strict=True))


@torch.no_grad()
def settle_statistics(model: nn.Module, font: Tensor, generator: torch.Generator) -> None:
    """Measures the batch-norm statistics of the final weights; training leaves lagging ones."""
    for _, norm in convolutions_with_norms(model):
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    model.train()
    for _ in range(STATISTICS_BATCHES):
        model(to_input(printed_digits(font, BATCH, generator)[0]))
    model.eval()


@torch.no_grad()
def balance(model: nn.Module) -> None:
    """Scales every convolution's outputs to variance 1, weights and statistics together.

    The network computes the same. But with frozen statistics a gradient step on a weight acts
    through 1 / variance, and batch norm lets the weights of depthwise layers stay so small that
    this is a factor of a hundred between layers, which asks too much of one learning rate.
    """
    for convolution, norm in convolutions_with_norms(model):
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = (variance + norm.eps).rsqrt()
        convolution.weight.mul_(scale[:, None, None, None])
        mean.mul_(scale)
        variance.fill_(1 - norm.eps)


def main(
    seed: Annotated[int, typer.Option(help="Of weights and images.")] = 0,
    epochs: Annotated[int, typer.Option(help="Of 4 096 fresh images each.", min=1)] = 25,
    out: Annotated[Path, typer.Option(help="The file to write.")] = ASSET,
) -> None:
    """Pretrain the demo's network on printed digits."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    font = glyphs()
    model = architecture().train()
    opt = torch.optim.SGD(
        model.parameters(),
        lr=PEAK_LEARNING_RATE,
        momentum=0.9,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
    )
    steps = epochs * STEPS_PER_EPOCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, PEAK_LEARNING_RATE, total_steps=steps)
    for _ in track(range(steps), description="printed digits"):
        images, labels = printed_digits(font, BATCH, generator)
        opt.zero_grad()
        cross_entropy(model(to_input(images)), labels).backward()
        opt.step()
        schedule.step()

    settle_statistics(model, font, generator)
    balance(model)
    half = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(half)
    images, labels = printed_digits(font, 2048, generator)
    accuracy = score([(to_input(images), labels)], model.eval(), 10).accuracy

    out.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(half, out)
    print(f"{accuracy:.1%} of fresh printed digits; {out.stat().st_size:,} bytes in {out}")


if __name__ == "__main__":
    typer.run(main)
