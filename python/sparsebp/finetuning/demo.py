"""What ``sparsebp finetune`` does without arguments: a small network meets handwriting, inside 32 KB.

The package ships a MobileNetV2 of 84 000 weights that learned printed digits from synthetic images
of one font, bright on dark (``scripts/pretrain_demo.py``). Here it meets handwriting, half of it
dark ink on bright paper. Training the classifier alone does not get it there; training a few
channels of the convolutions at a time does.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from ..data import Arrays, Dataset, Preprocess
from ..networks.mobilenet_v2 import MobileNetV2, mobilenet_v2
from .evaluation import score

NAME = "demo"
"""What a run of it says where its pictures came from."""

MODEL = "sparsebp.demo:architecture"
"""What it says of its network."""

SIDE = 32
"""Height and width of the network's input."""

BATCH = 16
EPOCHS = 10
LEARNING_RATE = 0.5
"""0.5 to 1.2 end within two points of each other; 2 is too much."""

CLASSIFIER_LEARNING_RATE = 4.0
"""For the classifier alone. Best of 0.3, 1, 2, 4, 8: what is compared with should get its due."""

TEST_IMAGES = 500

PREPROCESS = Preprocess((SIDE, SIDE), range=(-1.0, 1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

SETTINGS: dict[str, Any] = {
    "budget": "32KB",
    "input_size": SIDE,
    "max_update_ratio": 0.05,
    "batch_size": BATCH,
    "epochs": EPOCHS,
    "normalise": False,
    "lr": LEARNING_RATE,
    "bias_lr": LEARNING_RATE,
    "classifier_lr": LEARNING_RATE,
    "schedule": "linear",
    "augment": (),
    "skip_above": 1.0,
    "balance": "none",
    "preprocess": PREPROCESS,
}
"""What the demo asks of :func:`sparsebp.finetune`."""


@dataclass(frozen=True)
class Baselines:
    """What fine-tuning is compared with: shares of the test images, in [0, 1].

    Attributes:
        shipped: accuracy of the network as shipped.
        classifier: accuracy after training the classifier alone.
    """

    shipped: float
    classifier: float


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


def digits(seed: int = 0) -> Dataset:
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
    on_paper = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(on_paper[:, None, None], 1 - images, images)
    pixels = (images * 255).round().to(torch.uint8)[..., None].expand(-1, -1, -1, 3).numpy()
    order = torch.randperm(len(images), generator=generator).numpy()
    labels = bunch.target.astype(np.int64)
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return Dataset(
        train=Arrays(np.ascontiguousarray(pixels[train]), labels[train]),
        test=Arrays(np.ascontiguousarray(pixels[test]), labels[test]),
        classes=tuple("0123456789"),
        kind="handwritten digits of scikit-learn",
    )


def compare(dataset: Dataset, epochs: int = EPOCHS, seed: int = 0) -> Baselines:
    """Measures the shipped network, and what training its classifier alone makes of it.

    Args:
        dataset: from :func:`digits`.
        epochs: passes over the training images.
        seed: of their order.
    """
    model = pretrained()
    (x, y), test = _inputs(dataset.train), [_inputs(dataset.test)]
    classes = len(dataset.classes)
    shipped = score(test, model, classes).accuracy
    _train_classifier(model, x, y, epochs, seed)
    return Baselines(shipped, score(test, model, classes).accuracy)


def _inputs(source: Any) -> tuple[Tensor, Tensor]:
    images = np.stack([PREPROCESS.fit(source.picture(i)) for i in range(len(source))])
    return PREPROCESS.normalise(torch.from_numpy(images)), torch.from_numpy(source.labels)


def _train_classifier(model: MobileNetV2, x: Tensor, y: Tensor, epochs: int, seed: int) -> None:
    """The usual way out on a small device: convolutions frozen, their features computed once."""
    with torch.no_grad():
        features = nn.functional.adaptive_avg_pool2d(model.features(x), 1).flatten(1)
    opt = torch.optim.SGD(model.classifier.parameters(), lr=CLASSIFIER_LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(x) // BATCH)
    for step in range(steps):
        if step % (len(x) // BATCH) == 0:
            order = torch.randperm(len(x), generator=generator)
        rows = order[step * BATCH % (len(x) // BATCH * BATCH) :][:BATCH]
        opt.param_groups[0]["lr"] = CLASSIFIER_LEARNING_RATE * (1 - step / steps)
        opt.zero_grad()
        cross_entropy(model.classifier(features[rows]), y[rows]).backward()
        opt.step()
