"""Spare outputs on the PC: what is exported with them, what widens for them, and what they come back as."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsebp
import torch
from networks import tiny_mobilenet
from spare_plans import KNOWN, export, images, known_network, spare, wide_network
from sparsebp.runtime import Session
from torch import nn
from training import SIZE, one_thread  # noqa: F401

__all__ = ["spare"]  # fixtures


def test_the_original_class_takes_the_classes_alone(tmp_path: Path, spare: Path) -> None:
    session = Session(spare)
    session.add_class("gnu")
    for step in range(3):
        session.train(*images(1, step, classes=7))
    session.save(tmp_path / "after")
    original = tiny_mobilenet(classes=7, seed=3)
    original.load_state_dict(sparsebp.load_file(tmp_path / "after"))
    x, _ = images(2, 9)
    with torch.no_grad():
        logits = original.eval()(torch.from_numpy(x).permute(0, 3, 1, 2))
    np.testing.assert_allclose(logits.numpy(), session.predict(x), rtol=1e-4, atol=1e-5)
    fresh = tiny_mobilenet(classes=3)
    loaded = sparsebp.load_weights(fresh, tmp_path / "after", ["gnu", "ant", "yak"])
    assert "2 kept (gnu, ant), 1 new (yak)" in loaded.classifier
    assert torch.equal(fresh.classifier[1].weight[0], original.classifier[1].weight[6])


def test_what_spare_classes_need_is_said(tmp_path: Path) -> None:
    model = sparsebp.convert(wide_network(), "1MB", input_size=SIZE)

    def refused(error: type[Exception], words: str, **options: Any) -> None:
        with pytest.raises(error, match=words):
            sparsebp.export(model, tmp_path / "plan", lr=0.1, **options)
        assert not (tmp_path / "plan").exists()

    refused(ValueError, "classes: expected the names of those that are not spare", spare_classes=4)
    refused(ValueError, "expected 7 names beside 3 spare outputs, got 6", spare_classes=3, classes=KNOWN)
    refused(TypeError, "spare_classes: expected a whole number", spare_classes=4.0, classes=KNOWN)
    refused(ValueError, "spare_classes: expected at least 1, got -1", spare_classes=-1, classes=KNOWN)
    long = [*KNOWN[:5], "x" * 64]
    refused(ValueError, "different names of 1 to 63 bytes without zeros, got 'xxx", spare_classes=4, classes=long)
    refused(ValueError, "different names", spare_classes=4, classes=[*KNOWN[:5], "ant"])


def test_widening_keeps_rows_and_refuses_what_it_cannot_widen() -> None:
    net = known_network()
    before = copy.deepcopy(net)
    state = torch.random.get_rng_state()
    assert sparsebp.widen(net, 10) is net
    assert torch.equal(torch.random.get_rng_state(), state)
    layer, old = net.classifier[1], before.classifier[1]
    assert layer.out_features == 10
    assert torch.equal(layer.weight[:6], old.weight)
    assert torch.equal(layer.bias[:6], old.bias)
    assert not layer.weight[6:].any()
    assert not layer.bias[6:].any()
    assert sparsebp.widen(net, 10).classifier[1] is layer
    convolution = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    sparsebp.widen(convolution, 6)
    assert convolution(torch.ones(1, 3, 2, 2)).shape == (1, 6)
    with pytest.raises(ValueError, match=r"classes: classifier.1 has 10 outputs already, got 9"):
        sparsebp.widen(net, 9)
    with pytest.raises(ValueError, match="it has no linear layer or convolution"):
        sparsebp.widen(nn.ReLU(), 9)
    with pytest.raises(TypeError, match=r"take what sparsebp\.restore\(model\) returns"):
        sparsebp.widen(sparsebp.convert(net, "1MB", input_size=SIZE), 12)


def test_a_convolution_in_front_of_the_pooling_can_be_the_classifier(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    wide = sparsebp.widen(copy.deepcopy(net), 5)
    without, beside = (Session(export(tmp_path / str(i), n, ["a", "b"])) for i, n in enumerate((net, wide)))
    for step in range(5):
        x, y = images(1, step, classes=2)
        assert beside.train(x, y) == without.train(x, y)
    assert beside.add_class("c") == 2
    assert beside.predict(x)[0, 2] == 0


def test_a_batch_norm_behind_the_classifier_leaves_no_output_to_spare(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="only without groups and batch norm"):
        export(tmp_path / "plan", net, ["a", "b"])
