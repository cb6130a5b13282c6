"""Networks that return one number a class, as a row or as an image of one pixel, and networks that return images."""

from __future__ import annotations

from pathlib import Path

import pytest
import sparsebp
import torch
from sparsebp.runtime import Session
from sparsebp.training.train_step import train_step
from torch import nn
from training import assert_same, everything, one_thread  # noqa: F401

SIZE, CLASSES = (3, 8, 8), 5


def converted(kind: str, dtype: torch.dtype = torch.float32) -> sparsebp.SparseModel:
    """A network that ends in a row of numbers, in an image of one pixel, or in an image."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
    if kind != "image":
        net.append(nn.AdaptiveAvgPool2d(1))
    net.append(nn.Conv2d(16, CLASSES, 1))
    if kind == "row":
        net.append(nn.Flatten())
    return sparsebp.convert(net.to(dtype), "256KB", input_size=SIZE, batch_size=2).train()


def batch(seed: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((4, *SIZE), generator=generator).to(dtype), torch.arange(4)


@pytest.mark.parametrize("skip_above", [1.0, 0.18])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_image_of_one_pixel_trains_as_a_row_does(dtype: torch.dtype, skip_above: float) -> None:
    row, pixel = converted("row", dtype), converted("pixel", dtype)
    assert (row.output_shape, pixel.output_shape) == ((CLASSES,), (CLASSES, 1, 1))
    found = []
    for model in (row, pixel):
        opt = sparsebp.optim.SGD(model, lr=0.1)
        found.append(
            [train_step(model, opt, *batch(i, dtype), label_smoothing=0.1, skip_above=skip_above) for i in range(9)]
        )
    torch.testing.assert_close(torch.tensor(found[1]), torch.tensor(found[0]))
    assert all(trained == (4 if skip_above == 1 else 2) for _, trained in found[0])
    torch.testing.assert_close(pixel.original[2].weight, row.original[2].weight)


def test_an_image_of_one_pixel_trains_in_a_session_to_the_same_bits(tmp_path: Path) -> None:
    model = converted("pixel")
    opt = sparsebp.optim.SGD(model, lr=0.1)
    sparsebp.export(model, tmp_path / "plan", batch_size=4)
    session = Session(tmp_path / "plan")
    for i in range(3):
        x, labels = batch(i)
        loss, _ = train_step(model, opt, x, labels)
        assert session.train(x.permute(0, 2, 3, 1).numpy(), labels.numpy()).loss == pytest.approx(loss, rel=1e-6)
    x, _ = batch(9)
    expected = model.eval()(x).detach().flatten(1).numpy()
    assert (session.predict(x.permute(0, 2, 3, 1).numpy()) == expected).all()


def test_a_network_that_returns_images_takes_a_label_for_each_pixel() -> None:
    model = converted("image")
    opt = sparsebp.optim.SGD(model, lr=0.1)
    x, labels = batch(0)
    before = everything(model)
    with pytest.raises(ValueError, match=r"labels: .* returns images; expected \[4, 8, 8\] of them, got \[4\]"):
        train_step(model, opt, x, labels)
    assert_same(everything(model), before)
    wanted = torch.zeros(4, 8, 8, dtype=torch.long)
    losses = [train_step(model, opt, x, wanted)[0] for _ in range(8)]
    assert losses[-1] < losses[0]


def test_a_network_that_returns_images_is_not_exported(tmp_path: Path) -> None:
    """A session computes the loss of one number a class."""
    words = r"export: expected a network that returns one number a class, .* this one returns images, \[N, 5, 8, 8\]"
    with pytest.raises(sparsebp.UnsupportedModel, match=words):
        sparsebp.export(converted("image"), tmp_path / "plan", lr=0.1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_step_says_which_images_were_learned_already(dtype: torch.dtype) -> None:
    """Natively and by torch, micro-batch by micro-batch: two images each."""
    model = converted("row", dtype)
    opt, learned = sparsebp.optim.SGD(model, lr=0.1), torch.zeros(4, dtype=torch.bool)
    x, labels = batch(0, dtype)
    with torch.no_grad():
        sure = model.original.eval()(x).softmax(1).gather(1, labels[:, None]).view(2, 2).min(1).values
    model.train()
    between = float(sure.mean())
    _, trained = train_step(model, opt, x, labels, skip_above=between, learned=learned)
    assert learned.tolist() == (sure > between).repeat_interleave(2).tolist()
    assert trained == 2
    train_step(model, opt, x, labels, learned=learned)
    assert not learned.any()


@pytest.mark.parametrize("wrong", [torch.zeros(3, dtype=torch.bool), torch.zeros(4), [False] * 4], ids=str)
def test_which_images_were_learned_goes_into_a_tensor_of_as_many_bools(wrong: object) -> None:
    model = converted("row")
    with pytest.raises(ValueError, match=r"learned: expected a contiguous bool tensor \[4\]"):
        train_step(model, sparsebp.optim.SGD(model, lr=0.1), *batch(0), learned=wrong)  # type: ignore[arg-type]
