"""Training from what the frozen prefix made of pictures gives the bits of training on the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from networks import conv_norm, tiny_mobilenet
from sparsebp.data import Preprocess
from sparsebp.runtime import Session
from torch import nn
from training import SIZE, one_thread  # noqa: F401

PICTURES = Preprocess((16, 16), range=(-1.0, 1.0), mean=(0.1, 0.0, -0.1), std=(0.9, 1.0, 1.1))
STEPS = 6

#: Of convert, and the images of a step.
WAYS: dict[str, tuple[dict[str, Any], int]] = {
    "one image": ({}, 1),
    "micro-batches": ({"batch_size": 2}, 5),
    "sums": ({"batch_size": 2, "gradients": "sum"}, 3),
    "normalised": ({"normalise": True, "sampler": "cyclic"}, 1),
}


class Residual(nn.Module):
    """The input beside two convolutions, of which the first may be frozen: two values go into the span."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv_norm(8, 8), conv_norm(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


def head() -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)


def converted(net: nn.Module, frozen: tuple[str, ...], **convert: Any) -> sparsebp.SparseModel:
    return sparsebp.convert(net, "1MB", input_size=SIZE, ratios=dict.fromkeys(frozen, 0), **convert).train()


def exported(folder: Path, model: sparsebp.SparseModel, batch_size: int = 1) -> Path:
    sparsebp.export(model, folder / "plan", preprocess=PICTURES, lr=0.02, batch_size=batch_size)
    return folder / "plan"


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 16, 16, 3), np.uint8), generator.integers(0, 10, count)


def saved(session: Session, path: Path) -> bytes:
    session.save(path)
    return path.read_bytes()


@pytest.mark.parametrize(("convert", "images"), WAYS.values(), ids=WAYS.keys())
def test_features_train_the_bits_of_the_pictures(tmp_path: Path, convert: dict[str, Any], images: int) -> None:
    net = tiny_mobilenet(dropout=0.3)  # behind the prefix
    first = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)][:4]
    file = exported(tmp_path, converted(net, tuple(first), **convert), images)
    ordinary, short = Session(file), Session(file)
    assert 0 < ordinary.sizes.features != 16 * 16 * 3
    for step in range(STEPS):
        x, y = pictures(images, step)
        assert short.train_features(short.features(x), y) == ordinary.train(x, y)
    assert saved(short, tmp_path / "short") == saved(ordinary, tmp_path / "ordinary")
    assert short.arena_peak == short.sizes.arena_bytes
    x, y = pictures(7, 50)
    assert np.array_equal(short.predict_features(short.features(x)), ordinary.predict(x))
    assert short.evaluate_features(short.features(x), y) == ordinary.evaluate(x, y)


def test_features_are_what_the_prefix_gives_and_stay_what_they_are(tmp_path: Path) -> None:
    net = nn.Sequential(conv_norm(3, 8), conv_norm(8, 8), conv_norm(8, 8), *head())
    model = converted(net, ("0.0", "1.0"), batch_size=2)
    session = Session(exported(tmp_path, model))
    x, y = pictures(5, 0)
    found = session.features(x)
    with torch.no_grad():
        made = model.eval().run_prefix(PICTURES.normalise(torch.from_numpy(x)))
    assert np.array_equal(found, made.permute(0, 2, 3, 1).reshape(5, -1).numpy())
    session.train(x, y)
    assert np.array_equal(session.features(x), found)
    assert session.features(x[:0]).shape == (0, session.sizes.features)


def test_a_prefix_ends_where_one_value_alone_goes_on(tmp_path: Path) -> None:
    """The span begins inside of a residual: its input is needed again."""
    model = converted(nn.Sequential(conv_norm(3, 8), Residual(), *head()), ("0.0", "1.first.0"))
    assert model.prefix_shape is None
    file = exported(tmp_path, model)
    ordinary, short = Session(file), Session(file)
    assert short.sizes.features == 8 * 16 * 16  # what the first convolution makes
    for step in range(STEPS):
        x, y = pictures(1, step)
        assert short.train_features(short.features(x), y) == ordinary.train(x, y)
    assert saved(short, tmp_path / "short") == saved(ordinary, tmp_path / "ordinary")


def test_without_a_frozen_prefix_features_are_the_numbers_that_the_network_reads(tmp_path: Path) -> None:
    file = exported(tmp_path, converted(nn.Sequential(conv_norm(3, 8), *head()), ()))
    ordinary, short = Session(file), Session(file)
    x, y = pictures(1, 0)
    numbers = PICTURES.normalise(torch.from_numpy(x)).permute(0, 2, 3, 1).reshape(1, -1)
    assert np.array_equal(short.features(x), numbers.numpy())
    assert short.train_features(numbers.numpy(), y) == ordinary.train(x, y)


def test_dropout_in_the_frozen_prefix_drops_nothing_of_features(tmp_path: Path) -> None:
    def prefix(drop: float) -> Session:
        torch.manual_seed(0)
        net = nn.Sequential(conv_norm(3, 8), nn.Dropout(drop), conv_norm(8, 8), conv_norm(8, 8), *head())
        folder = tmp_path / str(drop)
        folder.mkdir()
        return Session(exported(folder, converted(net, ("0.0", "2.0"))))

    dropping, plain = prefix(0.5), prefix(0.0)
    for step in range(3):
        x, y = pictures(1, step)
        assert dropping.train_features(dropping.features(x), y) == plain.train(x, y)


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f: f[:, 1:], ValueError, r"features: expected \[N, 2048\] as Session.features returns them"),
        (lambda f: f[0], ValueError, r"got \[2048\]"),
        (lambda f: f.astype(np.float64), TypeError, "features: expected float32, got float64"),
        (lambda f: f[:1], ValueError, "labels: expected one for each of 1 images"),
        (lambda f: f * np.float32(np.nan), FloatingPointError, "NaN"),
    ],
)
def test_wrong_features_train_nothing(tmp_path: Path, spoil: Any, error: type[Exception], words: str) -> None:
    session = Session(exported(tmp_path, converted(nn.Sequential(conv_norm(3, 8), conv_norm(8, 8), *head()), ("0.0",))))
    before = sparsebp.load_file(tmp_path / "plan")
    x, y = pictures(2, 0)
    with pytest.raises(error, match=words):
        session.train_features(spoil(session.features(x)), y)
    session.save(tmp_path / "after")
    after = sparsebp.load_file(tmp_path / "after")
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
