"""The demonstration: ``python -m sparsebp.demo`` fine-tunes a small network inside 32 KB.

The package ships a MobileNetV2 of 84 000 weights that learned printed digits from synthetic images
of one font, bright on dark (``scripts/pretrain_demo.py``). Here it meets handwriting, half of it
dark ink on bright paper. Training the classifier alone does not get it there; training a few
channels of the convolutions at a time does, and the table says what that took in bytes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import safetensors.torch
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from .audit import audit
from .convert import convert
from .models import MobileNetV2, mobilenet_v2
from .optim import SGD
from .train import fit_step
from .units import format_bytes

SIDE = 32
"""Height and width of the network's input."""

BUDGET = "32KB"
MAX_UPDATE_RATIO = 0.05
BATCH = 16
EPOCHS = 10
LEARNING_RATE = 0.5
"""0.5 to 1.2 end within two points of each other; 2 is too much."""

CLASSIFIER_LEARNING_RATE = 4.0
"""Best of 0.3, 1, 2, 4, 8: what is compared with should get its due."""

TEST_IMAGES = 500


@dataclass(frozen=True)
class Digits:
    """Handwritten digits: images ``[N, 3, 32, 32]``, labels ``[N]``."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


@dataclass(frozen=True)
class DemoResult:
    """What :func:`run` measured. Accuracies are shares of the test images, in [0, 1].

    Attributes:
        accuracy_before: of the network as shipped.
        accuracy_classifier: after training the classifier alone.
        accuracy_sparse: after fine-tuning inside the budget.
        seconds_classifier: time of the first training.
        seconds_sparse: time of the second.
        budget: bytes of the arena.
        predicted_peak: what the plan said the arena would hold.
        measured_peak: what it held.
        outside_bytes: what a sparse step held outside the arena, by audit.
        dense_bytes: what a step that trains every weight in plain PyTorch holds, by audit.
        update_ratio: share of the convolution weights that one step touches.
        span: names of the trained layers, in network order.
    """

    accuracy_before: float
    accuracy_classifier: float
    accuracy_sparse: float
    seconds_classifier: float
    seconds_sparse: float
    budget: int
    predicted_peak: int
    measured_peak: int
    outside_bytes: int
    dense_bytes: int
    update_ratio: float
    span: tuple[str, ...]


def architecture() -> MobileNetV2:
    """The demo's network, untrained: ``[N, 3, 32, 32] -> [N, 10]``."""
    return mobilenet_v2(
        num_classes=10,
        width_mult=0.5,
        dropout=0.0,
        inverted_residual_setting=((1, 16, 1, 1), (4, 32, 2, 2), (4, 64, 3, 2), (4, 128, 2, 1)),
        last_channel=64,
    )


def to_input(images: Tensor) -> Tensor:
    """What the network wants, ``[N, 3, 32, 32]`` in [-1, 1], from grey ``[N, H, W]`` in [0, 1]."""
    resized = interpolate(images[:, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return (2 * resized - 1).expand(-1, 3, -1, -1).contiguous()


def pretrained() -> MobileNetV2:
    """The network that knows printed digits, from the weights inside the package."""
    asset = resources.files(__package__).joinpath("assets", "demo.safetensors").read_bytes()
    weights = safetensors.torch.load(asset)
    model = architecture()
    # Stored as float16; copying into the float32 parameters widens them.
    model.load_state_dict(weights)
    return model.eval()


def digits(seed: int = 0) -> Digits:
    """scikit-learn's 1 797 handwritten digits, half of them (at random) with reversed contrast.

    Args:
        seed: of the split and of which images are reversed.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        hint = "pip install 'sparsebp[demo]'"
        raise ImportError(f"the demo takes its images from scikit-learn: {hint}") from error
    bunch = load_digits()
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(bunch.images).float() / 16
    labels = torch.from_numpy(bunch.target).long()
    on_paper = torch.rand(len(images), generator=generator) < 0.5
    x = to_input(torch.where(on_paper[:, None, None], 1 - images, images))
    order = torch.randperm(len(images), generator=generator)
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return Digits(x[train], labels[train], x[test], labels[test])


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of the images ``x`` that ``model`` gives the label ``y``; the training mode stays."""
    training = model.training
    model.eval()
    correct = 0
    for start in range(0, len(x), 100):
        predicted = model(x[start : start + 100]).argmax(1)
        correct += int((predicted == y[start : start + 100]).sum())
    model.train(training)
    return correct / len(x)


def train_classifier(model: MobileNetV2, data: Digits, epochs: int, seed: int) -> None:
    """The usual way out on a small device: convolutions frozen, their features computed once."""
    with torch.no_grad():
        features = model.features(data.train_x).mean((2, 3))
    opt = torch.optim.SGD(model.classifier.parameters(), lr=CLASSIFIER_LEARNING_RATE)
    for rate, batch in _batches(len(features), epochs, seed):
        opt.param_groups[0]["lr"] = rate * CLASSIFIER_LEARNING_RATE
        opt.zero_grad()
        cross_entropy(model.classifier(features[batch]), data.train_y[batch]).backward()
        opt.step()


def run(seed: int = 0, epochs: int = EPOCHS) -> DemoResult:
    """Trains twice from the same weights, the classifier alone and with sparsebp; measures both.

    Args:
        seed: of the split, the order of the images and the channels drawn.
        epochs: passes over the training images, for both.
    """
    if epochs < 1:
        raise ValueError(f"epochs: expected at least 1, got {epochs}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # layers this small take longer to share than to compute
    try:
        return _run(seed, epochs)
    finally:
        torch.set_num_threads(threads)


def _run(seed: int, epochs: int) -> DemoResult:
    data = digits(seed)
    model = pretrained()
    before = evaluate(model, data.test_x, data.test_y)
    dense = audit(model, data.train_x[:1], data.train_y[:1])

    frozen = copy.deepcopy(model)
    start = time.perf_counter()
    train_classifier(frozen, data, epochs, seed)
    seconds_classifier = time.perf_counter() - start

    start = time.perf_counter()
    sparse = convert(
        model,
        budget=BUDGET,
        input_size=(3, SIDE, SIDE),
        max_update_ratio=MAX_UPDATE_RATIO,
        seed=seed,
    ).train()
    opt = SGD(sparse, lr=LEARNING_RATE)
    for rate, batch in _batches(len(data.train_x), epochs, seed):
        opt.param_groups[0]["lr"] = rate * LEARNING_RATE
        fit_step(sparse, opt, data.train_x[batch], data.train_y[batch], cross_entropy)
    seconds_sparse = time.perf_counter() - start

    plan = sparse.plan
    measured = sparse.arena.peak
    return DemoResult(
        accuracy_before=before,
        accuracy_classifier=evaluate(frozen, data.test_x, data.test_y),
        accuracy_sparse=evaluate(sparse, data.test_x, data.test_y),
        seconds_classifier=seconds_classifier,
        seconds_sparse=seconds_sparse,
        budget=sparse.arena.capacity,
        predicted_peak=plan.peak_bytes,
        measured_peak=measured,
        outside_bytes=audit(sparse, data.train_x[:1], data.train_y[:1]).outside_bytes,
        dense_bytes=dense.outside_bytes,
        update_ratio=plan.update_ratio,
        span=tuple(layer.name for layer in plan.layers),
    )


def _batches(images: int, epochs: int, seed: int) -> Iterator[tuple[float, Tensor]]:
    """For every step: the share of the learning rate, falling linearly to zero, and the images.

    Whole batches only: a last batch of one image would get the step of sixteen.
    """
    generator = torch.Generator().manual_seed(seed)
    per_epoch = images // BATCH
    for epoch in range(epochs):
        order = torch.randperm(images, generator=generator)
        for step in range(per_epoch):
            done = (epoch * per_epoch + step) / (epochs * per_epoch)
            yield 1 - done, order[step * BATCH : (step + 1) * BATCH]


def _accuracy_table(result: DemoResult) -> Table:
    table = Table(title="Printed digits -> handwriting", title_justify="left")
    table.add_column("what trains")
    table.add_column("accuracy", justify="right")
    table.add_column("seconds", justify="right")
    table.add_row("nothing, as shipped", f"{result.accuracy_before:.1%}", "")
    seconds = f"{result.seconds_classifier:.1f}"
    table.add_row("the classifier alone", f"{result.accuracy_classifier:.1%}", seconds)
    seconds = f"{result.seconds_sparse:.1f}"
    table.add_row("sparsebp", f"[bold]{result.accuracy_sparse:.1%}[/bold]", seconds)
    return table


def _memory_table(result: DemoResult) -> Table:
    table = Table(title="Training memory, images one by one", title_justify="left")
    table.add_column("")
    table.add_column("bytes", justify="right")
    table.add_column("", justify="right")
    for name, count in (
        ("budget", result.budget),
        ("peak the plan predicted", result.predicted_peak),
        ("peak the arena measured", result.measured_peak),
        ("outside the arena (audit)", result.outside_bytes),
        ("dense training (audit)", result.dense_bytes),
    ):
        table.add_row(name, f"{count:,}", format_bytes(count))
    return table


def main() -> None:
    """Runs the demonstration and prints it."""
    try:
        result = run()
    except ImportError as error:
        raise SystemExit(f"sparsebp.demo: {error}") from None
    console = Console()
    console.print(_accuracy_table(result))
    console.print(_memory_table(result))
    console.print(
        f"{len(result.span)} layers train, from {result.span[0]} to {result.span[-1]}; "
        f"each step touches {result.update_ratio:.1%} of the convolution weights.",
        highlight=False,
    )


if __name__ == "__main__":
    main()
