"""Augmentation: what flip, shift, crop and color do to a picture, and how people write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sparsebp.data import Loader, Preprocess, parse_augment
from sparsebp.data.augment import augment
from twelve_pictures import PIXELS, SIZE, pictures


class Fixed(np.random.Generator):
    """A generator that draws what it is told."""

    def __init__(self, *numbers: Any) -> None:
        super().__init__(np.random.PCG64(0))
        self.numbers = list(numbers)

    def random(self, *_: Any, **__: Any) -> Any:
        return self.numbers.pop(0)

    integers = uniform = random


def test_flip_exchanges_left_and_right_in_half_of_the_pictures() -> None:
    preprocess = Preprocess((9, 11))
    flips = 0
    for seed in range(200):
        drawn = augment(Image.fromarray(PIXELS[0]), ["flip"], preprocess, np.random.default_rng(seed))
        flipped = (drawn == PIXELS[0][:, ::-1]).all()
        assert flipped or (drawn == PIXELS[0]).all()
        flips += bool(flipped)
    assert 70 < flips < 130


def test_shift_reflects_what_it_moves_in() -> None:
    image = np.random.default_rng(1).integers(0, 256, (16, 32, 3), np.uint8)
    padded = np.pad(image, ((2, 2), (4, 4), (0, 0)), mode="reflect")
    for down in range(-2, 3):
        for right in range(-4, 5):
            drawn = augment(Image.fromarray(image), ["shift"], Preprocess((16, 32)), Fixed(down, right))
            assert (drawn == padded[2 + down : 18 + down, 4 + right : 36 + right]).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1 << 30), st.sampled_from(["crop", "stretch", "pad"]))
def test_crop_takes_most_of_what_would_be_seen(width: int, height: int, seed: int, resize: str) -> None:
    preprocess, taken = Preprocess((8, 16), resize=resize), []

    class Watched(Image.Image):
        def resize(self, *_: Any, box: Any, **__: Any) -> Image.Image:
            taken.append(box)
            return Image.new("RGB", (16, 8))

    watched = Watched()
    watched._mode, watched._size = "RGB", (width, height)
    preprocess.fit(watched)
    augment(watched, ["crop"], preprocess, np.random.default_rng(seed))
    (x0, y0, x1, y1), (left, top, right, bottom) = taken
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    wide, high = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
    assert 0.6 - 1e-6 <= wide * high <= 1 + 1e-6
    assert 3 / 4 - 1e-6 <= wide / high <= 4 / 3 + 1e-6


def test_crop_scales_back_up_and_moves_about() -> None:
    ramp = np.zeros((40, 80, 3), np.uint8) + np.arange(0, 240, 3, dtype=np.uint8)[None, :, None]
    left, right = (
        augment(Image.fromarray(ramp), ["crop"], Preprocess((8, 8)), Fixed(0.64, 0.0, place, 0.0)).mean() / 3
        for place in (0.0, 1.0)
    )
    # Of the 40 x 40 in view 32 x 32 are taken, at the left and at the right end of the picture.
    assert left == pytest.approx(15.5, abs=0.5)
    assert right == pytest.approx(63.5, abs=0.5)


def test_color_is_brightness_then_contrast_then_saturation() -> None:
    b, c, s = 0.9, 1.2, 0.8
    image = PIXELS[0].astype(np.float64)
    luma = np.array([0.299, 0.587, 0.114])
    bright = image * b
    contrast = bright * c + (1 - c) * (bright @ luma).mean()
    expected = contrast * s + (1 - s) * (contrast @ luma)[:, :, None]
    drawn = augment(Image.fromarray(PIXELS[0]), ["color"], Preprocess((9, 11)), Fixed(np.array([b, c, s])))
    np.testing.assert_allclose(drawn, expected.clip(0, 255), atol=0.51)
    same = augment(Image.fromarray(PIXELS[0]), ["color"], Preprocess((9, 11)), Fixed(np.ones(3)))
    assert (same == PIXELS[0]).all()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, ()),
        ("", ()),
        ("none", ()),
        ((), ()),
        ("flip", ("flip",)),
        (" Flip,crop ", ("crop", "flip")),
        (["flip", "color", "flip"], ("color", "flip")),
    ],
)
def test_augmentations_as_people_write_them(text: Any, names: tuple[str, ...]) -> None:
    assert parse_augment(text) == names
    assert Loader(pictures(), SIZE, augment=text).augment == names


@pytest.mark.parametrize("text", ["flop", "flip,,crop", "none,flip", ["flip,crop"]])
def test_unknown_augmentations_say_what_there_is(text: Any) -> None:
    with pytest.raises(
        ValueError, match=r"augment: expected none, or .*; there is crop \(.*color \(.*shift \(.*flip \("
    ):
        parse_augment(text)
