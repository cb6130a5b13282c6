"""The demo does what the README says, in fewer passes."""

from __future__ import annotations

import importlib.resources

import numpy as np
import pytest
import sparsebp
import torch
from sparsebp.finetuning import demo

EPOCHS = 3


def test_the_demo_learns_handwriting_inside_its_budget() -> None:
    """Three passes leave the classifier alone behind; the arena holds what the plan said."""
    pytest.importorskip("sklearn", reason="scikit-learn, which brings the digits, is not installed")
    data = demo.digits(0)
    baselines = demo.compare(data, epochs=EPOCHS)
    result = sparsebp.finetune(demo.pretrained(), data, **{**demo.SETTINGS, "epochs": EPOCHS})
    assert baselines.shipped < 0.6
    assert result.accuracy > baselines.classifier + 0.05
    assert result.accuracy > 0.85
    assert result.memory.predicted == result.memory.measured <= result.memory.budget == 32768


def test_the_digits_are_a_data_set_of_their_own_seed() -> None:
    """Half of them dark on bright, another half with another seed; none both trains and tests."""
    pytest.importorskip("sklearn", reason="scikit-learn, which brings the digits, is not installed")
    data, again, other = demo.digits(0), demo.digits(0), demo.digits(1)
    assert (len(data.train), len(data.test), len(data.classes)) == (1297, demo.TEST_IMAGES, 10)
    assert data.train.fingerprint() == again.train.fingerprint()
    assert data.test.fingerprint() != other.test.fingerprint()
    corners = np.stack([np.asarray(data.train.picture(i))[0, 0, 0] for i in range(len(data.train))])
    assert 0.45 < (corners > 127).mean() < 0.55


def test_the_input_is_what_the_network_was_pretrained_on() -> None:
    """``to_input``, which pretraining used, and the demo's preprocessing agree up to the rounding of pixels."""
    picture = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    source = sparsebp.data.Arrays(picture[None], [0])
    fitted = torch.from_numpy(demo.PREPROCESS.fit(source.picture(0))[None])
    expected = demo.to_input(torch.from_numpy(picture)[None] / 255)
    assert (demo.PREPROCESS.normalise(fitted) - expected).abs().max() < 2 / 255


def test_the_packaged_network_is_small() -> None:
    """It travels with every wheel."""
    asset = importlib.resources.files("sparsebp.finetuning") / "assets" / "demo.safetensors"
    assert len(asset.read_bytes()) <= 512 * 1024
    assert 80_000 < sum(p.numel() for p in demo.pretrained().parameters()) < 90_000
