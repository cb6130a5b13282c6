"""Any picture as network input."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from picture_files import filled
from PIL import Image
from sparsebp.data import Preprocess


def test_crop_keeps_the_centre() -> None:
    wide = np.zeros((2, 6, 3), np.uint8)
    wide[:, 2:4] = 200
    assert (Preprocess((4, 4), filter="nearest").fit(Image.fromarray(wide)) == 200).all()
    tall = Image.fromarray(wide.transpose(1, 0, 2))
    assert (Preprocess((4, 4), filter="nearest").fit(tall) == 200).all()
    ramp = np.repeat(np.arange(8, dtype=np.uint8)[None, :, None] * 10, 4, axis=0).repeat(3, axis=2)
    halved = Preprocess((2, 2), filter="box").fit(Image.fromarray(ramp))  # columns 2..5, averaged in pairs
    assert halved[0, :, 0].tolist() == [25, 45]
    assert Preprocess((2, 4), filter="box").fit(Image.fromarray(ramp))[1, :, 1].tolist() == [5, 25, 45, 65]


def test_stretch_takes_everything_and_pad_adds_the_mean_color() -> None:
    wide = Image.fromarray(np.full((2, 4, 3), 200, np.uint8))
    assert (Preprocess((4, 4), resize="stretch").fit(wide) == 200).all()
    padded = Preprocess((4, 4), resize="pad").fit(wide)
    assert (padded[1:3] == 200).all()
    assert (padded[[0, 3]] == [124, 116, 104]).all()  # 255 times ImageNet's mean
    signed = Preprocess((4, 4), range=(-1, 1), mean=(0, 0, 0), std=(1, 1, 1), resize="pad").fit(wide)
    assert (signed[0] == 128).all()


@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["crop", "stretch", "pad"]),
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]),
)
def test_any_picture_fits(shape: tuple[int, int], size: tuple[int, int], resize: str, name: str) -> None:
    mean = (9 / 255, 99 / 255, 199 / 255)
    picture = Image.new("RGB", shape, (9, 99, 199))
    pixels = Preprocess(size, mean=mean, resize=resize, filter=name).fit(picture)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*size, 3)
    assert (pixels == [9, 99, 199]).all()


def test_pixels_become_what_the_formula_says() -> None:
    images = torch.arange(2 * 5 * 7 * 3).remainder(256).to(torch.uint8).reshape(2, 5, 7, 3)
    for low, high, mean, std in ((0, 1, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), (-1, 1, (0, 0, 0), (1, 1, 1))):
        result = Preprocess((5, 7), range=(low, high), mean=mean, std=std).normalise(images)
        exact = (low + images.double() / 255 * (high - low) - torch.tensor(mean)) / torch.tensor(std)
        assert result.dtype == torch.float32
        assert result.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(result.double(), exact.permute(0, 3, 1, 2), rtol=0, atol=2e-6)
    assert Preprocess((5, 7)).normalise(images[:0]).shape == (0, 3, 5, 7)
    for wrong in (images.float(), images[0], images.permute(0, 3, 1, 2)):
        with pytest.raises(ValueError, match="images: expected uint8"):
            Preprocess((5, 7)).normalise(wrong)


def test_preprocessing_survives_json() -> None:
    made = Preprocess((96, 128), range=(-1, 1), mean=(0, 0, 0), std=(1, 2, 3), resize="pad", filter="lanczos")
    assert Preprocess.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert hash(made) == hash(Preprocess.from_dict(made.to_dict()))
    for wrong, message in (({}, "key size"), ({"size": [1, 1], "sise": 2}, "sise as well"), ({"size": 3}, "size: exp")):
        with pytest.raises(ValueError, match=message):
            Preprocess.from_dict(wrong)
    with pytest.raises(TypeError, match="got list"):
        Preprocess.from_dict([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"size": (0, 3)}, "size: expected positive"),
        ({"size": (2.5, 3)}, "size: expected .* two ints"),
        ({"size": (1, 2, 3)}, "size: expected .* two ints"),
        ({"range": (1, 1)}, "range: expected .* low < high"),
        ({"range": (0, float("inf"))}, "range: expected 2 finite"),
        ({"mean": (0, 0)}, "mean: expected 3 finite"),
        ({"mean": "123"}, "mean: expected 3 finite"),
        ({"std": (1, 0, 1)}, "std: expected positive"),
        ({"resize": "squash"}, "resize: expected one of crop, stretch, pad; got 'squash'"),
        ({"filter": "Bilinear"}, "filter: expected one of nearest"),
    ],
)
def test_preprocessing_that_makes_no_sense(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocess(**{"size": (8, 8), **given_})
    with pytest.raises(ValueError, match="image: expected mode RGB, got L"):
        Preprocess((8, 8)).fit(filled("L", 1))
