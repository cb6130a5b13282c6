"""The demo does what the README says, in fewer passes."""

from __future__ import annotations

import importlib.resources

import pytest


def test_the_demo_learns_handwriting_inside_its_budget() -> None:
    """Three passes leave the classifier alone behind; the arena holds what the plan said."""
    pytest.importorskip("sklearn", reason="scikit-learn, which brings the digits, is not installed")
    from sparsebp import demo

    result = demo.run(seed=0, epochs=3)
    assert result.accuracy_before < 0.6
    assert result.accuracy_sparse > result.accuracy_classifier + 0.05
    assert result.accuracy_sparse > 0.85
    assert result.predicted_peak == result.measured_peak <= result.budget


def test_the_packaged_network_is_small() -> None:
    """It travels with every wheel."""
    asset = importlib.resources.files("sparsebp") / "assets" / "demo.safetensors"
    assert len(asset.read_bytes()) <= 512 * 1024
