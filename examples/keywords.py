"""Networks that know spoken commands meet other microphones, and adapt inside a budget: python examples/keywords.py.

Commands are made up: two tones of half a second that rise, fall, or stay, from one of three pitches. DS-CNN (Zhang et
al., arXiv 1711.07128) hears a spectrogram, M5 (Dai et al., arXiv 1610.00087) the waveform. Plain torch teaches them in
quiet; then the room echoes and hums, and sparsebp adapts each inside its budget.
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
from torch.nn.functional import cross_entropy

RATE, SAMPLES = 4000, 2048
PITCHES, BENDS = (300, 500, 800), (0.6, 1.0, 1.6)
CLASSES = len(PITCHES) * len(BENDS)


def commands(count: int, room: bool, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms [N, 1, SAMPLES], and which command each is."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=draw)
    low = torch.tensor(PITCHES)[labels // 3] * (0.9 + 0.2 * torch.rand(count, generator=draw))
    bend, time = torch.tensor(BENDS)[labels % 3], torch.arange(SAMPLES) / RATE
    pitch = low[:, None] * bend[:, None] ** (time / time[-1])
    phase = 2 * math.pi * pitch.cumsum(1) / RATE
    wave = (phase + 6 * torch.rand(count, 1, generator=draw)).sin() + 0.5 * (2 * phase).sin()
    wave = wave + 0.1 * torch.randn(count, SAMPLES, generator=draw)
    if room:
        echo = torch.zeros_like(wave)
        echo[:, 300:] = wave[:, :-300]
        hum = (2 * math.pi * 100 * time + 6 * torch.rand(count, 1, generator=draw)).sin()
        wave = 0.4 * wave + 0.4 * echo + hum + 0.3 * torch.randn(count, SAMPLES, generator=draw)
    return wave[:, None], labels


def spectrogram(wave: torch.Tensor) -> torch.Tensor:
    """Waveforms as log magnitudes of 31 moments and 32 frequencies, [N, 1, 31, 32]."""
    parts = torch.stft(wave[:, 0], 128, 64, window=torch.hann_window(128), center=False, return_complex=True)
    return parts.abs().add(0.1).log()[:, None, :32].transpose(2, 3)


def part(kind: type[nn.Module], inputs: int, outputs: int, kernel: int, **more: int) -> list[nn.Module]:
    norm = nn.BatchNorm1d if kind is nn.Conv1d else nn.BatchNorm2d
    return [kind(inputs, outputs, kernel, bias=False, **more), norm(outputs), nn.ReLU()]


def ds_cnn(width: int = 64) -> nn.Module:
    layers = part(nn.Conv2d, 1, width, 4, stride=2, padding=1)
    for _ in range(4):
        layers += part(nn.Conv2d, width, width, 3, padding=1, groups=width) + part(nn.Conv2d, width, width, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def m5(width: int = 32) -> nn.Module:
    layers = [*part(nn.Conv1d, 1, width, 80, stride=4), nn.MaxPool1d(4)]
    for inputs, outputs in ((width, width), (width, 2 * width)):
        layers += [*part(nn.Conv1d, inputs, outputs, 3, padding=1), nn.MaxPool1d(4)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2 * width, CLASSES))


@torch.no_grad()
def score(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return float((torch.cat([model.eval()(part).argmax(1) for part in x.split(50)]) == y).double().mean())


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    """Plain torch, all of the network."""
    opt = torch.optim.Adam(model.train().parameters(), 0.003)
    for _ in track(range(epochs), "torch"):
        for rows in torch.randperm(len(x)).split(16):
            opt.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            opt.step()


def adapt(model: sparsebp.SparseModel, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float) -> list[float]:
    """The losses of its steps."""
    opt = sparsebp.optim.SGD(model.train(), lr=lr, normalise=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs * math.ceil(len(x) / 16))
    losses = []
    for _ in track(range(epochs), "sparsebp"):
        for rows in torch.randperm(len(x)).split(16):
            losses.append(sparsebp.fit_step(model, opt, x[rows], y[rows], cross_entropy))
            schedule.step()
    return losses


def main(ds_cnn_budget: str = "160KB", m5_budget: str = "48KB", count: int = 400, epochs: int = 5, lr: float = 0.003,
         seed: int = 0) -> None:  # fmt: skip
    torch.manual_seed(seed)
    table = Table("", "before", "sparsebp", "torch", "layers", "bytes of a step", "planned", "torch's bytes")
    quiet, room, test = commands(count, False, seed), commands(count, True, seed + 1), commands(200, True, seed + 2)
    tasks = ("DS-CNN", ds_cnn(), spectrogram, ds_cnn_budget), ("M5", m5(), lambda wave: wave, m5_budget)
    for name, model, see, budget in tasks:
        (x, y), (tx, ty) = (see(room[0]), room[1]), (see(test[0]), test[1])
        train(model, see(quiet[0]), quiet[1], epochs)
        dense, before = copy.deepcopy(model), score(model, tx, ty)
        dense_bytes = sparsebp.audit(dense, x[:1], y[:1]).outside_bytes
        model = sparsebp.convert(model, budget, input_size=tuple(x.shape[1:]), normalise=True, seed=seed)
        losses = adapt(model, x, y, epochs, lr)
        after, plan = score(model, tx, ty), model.plan
        train(dense, x, y, epochs)
        layers, measured = f"{len(plan.layers)}, {plan.update_ratio:.0%}", f"{model.arena.peak:,}"
        scores = (f"{value:.1%}" for value in (before, after, score(dense, tx, ty)))
        table.add_row(name, *scores, layers, measured, f"{plan.peak_bytes:,}", f"{dense_bytes:,}")
        print(f"{name}: loss {losses[0]:.3f} to {losses[-1]:.3f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
