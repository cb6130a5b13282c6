"""Small fine-tuning runs: pictures that can be learnt, a network, and every bit that a run leaves behind."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from networks import conv_norm, randomize_norms, tiny_mobilenet
from PIL import Image
from sparsebp import FineTuned, Interrupted, Observer
from sparsebp.cli import main
from sparsebp.data import Arrays, BrokenPicture, Dataset, Subset
from sparsebp.finetuning import Epoch, Position, checkpoint
from torch import nn

SIDE = 16
CLASSES = ("blue", "green", "grey", "red")
TRAIN, TEST = 20, 70  # batches of 8, 8 and 4; tests in two portions
STEPS = 3  # of an epoch
EPOCHS = 2

DIVERGING = {"lr": 1e38, "bias_lr": 1e38, "classifier_lr": 1e38}
SETTINGS: dict[str, Any] = {
    "budget": 16 * 1024,
    "input_size": SIDE,
    "max_update_ratio": None,
    "epochs": EPOCHS,
    "batch_size": 8,
    "normalise": False,
    "lr": 0.1,
    "bias_lr": 0.1,
    "classifier_lr": 0.05,
}
"""A run of six steps, in a third of a second."""


def pixels(label: int, generator: np.random.Generator, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Noise with a tint that is the class: uint8 [height, width, 3]."""
    noise = generator.integers(0, 160, (height, width, 3))
    tint = {"blue": (0, 0, 90), "green": (0, 90, 0), "grey": (30, 30, 30), "red": (90, 0, 0)}[CLASSES[label]]
    return (noise + tint).astype(np.uint8)


def pictures(count: int, seed: int, title: str = "pictures") -> Arrays:
    """As many of each class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    return Arrays(np.stack([pixels(label, generator) for label in labels]), labels, title)


def dataset(train: int = TRAIN, test: int = TEST) -> Dataset:
    return Dataset(pictures(train, 0, "train"), pictures(test, 1, "test"), CLASSES, "tinted noise")


def uneven() -> Dataset:
    """Two pictures of one class, five of each other."""
    whole = dataset()
    rows = [i for i, label in enumerate(whole.train.labels.tolist()) if label or i < 8]
    return Dataset(Subset(whole.train, rows), whole.test, whole.classes, whole.kind)


class Damaged(Arrays):
    """Pictures of which some cannot be read."""

    def __init__(self, whole: Arrays, broken: Collection[int]) -> None:
        super().__init__(whole.images, whole.labels, whole.title)
        self.broken = broken

    def picture(self, index: int) -> Image.Image:
        if index in self.broken:
            raise BrokenPicture(self.name(index), "it is torn")
        return super().picture(index)


def write_pictures(folder: Path, count: int, seed: int = 0) -> None:
    """A folder per class with ``count`` PNG files each."""
    generator = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(pixels(label, generator)).save(folder / name / f"{i:02d}.png")


def network(seed: int = 0, classes: int = len(CLASSES), **settings: Any) -> nn.Module:
    return tiny_mobilenet(seed, classes, **settings)


def torch_first(dropout: float = 0.3) -> nn.Module:
    """A prefix that runs in torch and, at every step, draws from torch's generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        front = [conv_norm(3, 9), nn.Dropout2d(dropout), nn.LPPool2d(2, 2)]
        model = nn.Sequential(*front, conv_norm(9, 17), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(17, 4))
    return randomize_norms(model, 0)


def with_broken(train: Collection[int] = (), test: Collection[int] = ()) -> Dataset:
    parts = Damaged(pictures(TRAIN, 0, "train"), train), Damaged(pictures(TEST, 1, "test"), test)
    return Dataset(*parts, CLASSES, "tinted noise")


def torn() -> Dataset:
    """A broken picture that batches meet early and late, and one in the test set."""
    return with_broken({3, 11}, {66})


def finetune(
    out: Path | None = None,
    model: nn.Module | None = None,
    data: Dataset | None = None,
    **changes: Any,
) -> FineTuned:
    """A run of :data:`SETTINGS`, with changes. Unless asked it measures no dense step and chooses nothing."""
    changes = {"dense_audit": False, "recipe": False, **SETTINGS, **changes}
    return sparsebp.finetune(model or network(), data or dataset(), out=out, **changes)


class At(Observer):
    """Calls ``act`` when ``event`` happens for the ``count``-th time."""

    def __init__(self, event: str, count: int, act: Callable[[], None]) -> None:
        self._left, self._act = count, act
        assert hasattr(self, event)
        setattr(self, event, self._happened)

    def _happened(self, *_: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()


def signalled(event: str, count: int, number: int = signal.SIGINT) -> Observer:
    """An observer that sends this process a signal."""
    return At(event, count, lambda: signal.raise_signal(number))


def interrupt(out: Path | None, event: str, count: int, number: int = signal.SIGINT, **changes: Any) -> Interrupted:
    """A run that a signal ends; what it raised."""
    with pytest.raises(Interrupted) as caught:
        finetune(out, observer=signalled(event, count, number), **changes)
    return caught.value


def left_behind(out: Path) -> dict[str, Any]:
    """What a finished run leaves: both files, and in its last checkpoint every counter, channel and sum."""
    newest = checkpoint.latest(out)
    assert newest is not None
    last = checkpoint.read(newest)
    found: dict[str, Any] = {name: (out / name).read_bytes() for name in ("model.safetensors", "report.json")}
    found |= {f"weights: {name}": _bytes(tensor) for name, tensor in last.weights.items()}
    found |= {f"training: {name}": _bytes(tensor) for name, tensor in last.training.items()}
    return found | {f"state: {name}": json.dumps(value) for name, value in last.facts.items()}


def assert_same_run(out: Path, undisturbed: Path) -> None:
    """Equal to the bit; names the first thing that is not."""
    got, expected = left_behind(out), left_behind(undisturbed)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == value, f"{name} differs"


def names(folder: Path) -> set[str]:
    """Everything in a folder, hidden or not."""
    return {file.name for file in folder.iterdir()} if folder.exists() else set()


def assert_finished(out: Path, kept: bool = False) -> None:
    """One checkpoint, the weights and the report, where epochs are kept their weights, and nothing half written."""
    newest = checkpoint.latest(out)
    assert newest is not None
    expected = {newest.name, "model.safetensors", "report.json"} | ({"epochs"} if kept else set())
    assert all(name.startswith("epoch-") for name in names(out / "epochs"))
    assert names(out) == expected, f"{out.name} holds {sorted(names(out) - expected)} besides"
    assert names(newest) == {"weights.safetensors", "training.safetensors", "state.json"}


def assert_plain(model: nn.Module, like: nn.Module) -> None:
    """An ordinary module again: flags, layout and gradients as before, trainable by torch and convertible."""
    assert [type(m) for m in model.modules()] == [type(m) for m in like.modules()]
    flags = {name: p.requires_grad for name, p in like.named_parameters()}
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert all(p.is_contiguous() and p.grad is None for p in model.parameters())
    sparsebp.restore(sparsebp.convert(model, SETTINGS["budget"], input_size=(3, SIDE, SIDE)))


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


# -- the command line ------------------------------------------------------------------------------

TINY = """
import sparsebp

def tiny(num_classes, width=0.5):
    stages = [(1, 16, 1, 1), (6, 32, 2, 2), (6, 48, 2, 2)]
    return sparsebp.models.mobilenet_v2(num_classes, width, inverted_residual_setting=stages, last_channel=64)
"""
_SMALL = "--model tiny:tiny --input-size 16 --budget 16KB --max-update-ratio 1 --batch-size 8 --threads 1 --workers 0"
_RATES = ["--bias-lr", "0.1", "--classifier-lr", "0.05"]
RUN = ["finetune", "--data", "pictures", "--weights", "weights.pt", "--lr", "0.1", *_RATES, *_SMALL.split()]
"""A small run in :func:`here`."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with pictures, a model and weights for ten classes in it. Import it, and ``run``."""
    (tmp_path / "tiny.py").write_text(TINY)
    write_pictures(tmp_path / "pictures", 12)
    torch.save(tiny_mobilenet(0).state_dict(), tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """``run(*RUN, "--epochs", "1")`` in this process: exit code, standard output, standard error."""
    path, threads = list(sys.path), torch.get_num_threads()

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        written = capsys.readouterr()
        return int(caught.value.code or 0), written.out, written.err

    yield call
    sys.path[:] = path
    torch.set_num_threads(threads)


def assert_ascii(text: str) -> None:
    """Plain lines: no colours, no bars that overwrite themselves, no boxes."""
    assert text.isascii()
    assert not set(text) & {"\x1b", "\r", "\b"}


class Log(Observer):
    """Every event with what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def planned(self, plan: sparsebp.Plan, start: Position) -> None:
        self.events.append(("planned", plan.budget, start.epoch, start.step))

    def caching(self, done: int, total: int, size: int, where: str) -> None:
        self.events.append(("caching", done, total, size, where))

    def stepped(self, position: Position, loss: float, images: int) -> None:
        self.events.append(("stepped", position.epoch, position.step, images))

    def evaluating(self, done: int, total: int) -> None:
        self.events.append(("evaluating", done, total))

    def epoch_ended(self, epoch: Epoch) -> None:
        self.events.append(("epoch ended", epoch.number))

    def saved(self, path: Path) -> None:
        self.events.append(("saved", path.name))

    def skipped(self, picture: BrokenPicture) -> None:
        self.events.append(("skipped", picture.name, picture.reason))

    def only(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] in kinds]


def weights_of(result: FineTuned) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in result.model.state_dict().items()}


def assert_same_weights(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, value in expected.items():
        assert torch.equal(got[name], value), f"{name} differs"
