"""MobileNetV2 and EfficientNet-Lite0 as TensorFlow trained them: padded on the right and below where sizes are even."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sparsebp
import torch
from declared_ops import timm
from networks import randomize_norms
from PIL import Image
from sparsebp.models import SameConv2d, efficientnet_lite0, mobilenet_v2, mobilenet_v2_tf
from sparsebp.networks.pretrained import load_pretrained, read_weights, usual_preprocess
from sparsebp.runtime import Session
from torch import nn
from torch.nn import functional

ANT, BEE = 310, 309
"""Two of ImageNet's classes."""


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "behind"),
    [
        (8, 3, 2, 0, 1),
        (9, 3, 2, 1, 1),
        (8, 5, 2, 1, 2),
        (9, 5, 2, 2, 2),
        (8, 3, 1, 1, 1),
        (8, 1, 2, 0, 0),
        (7, 3, 3, 1, 1),
        (9, 3, 3, 0, 0),
        (8, 2, 1, 0, 1),
    ],
)
def test_same_puts_the_odd_zero_behind(size: int, kernel: int, stride: int, before: int, behind: int) -> None:
    """What TensorFlow's documentation of "same" says for these sizes; the other side is ten pixels long."""
    torch.manual_seed(0)
    conv = SameConv2d(2, 3, (kernel, 1), (stride, 1))
    x = torch.randn(2, 2, size, 10)
    wanted = functional.conv2d(functional.pad(x, (0, 0, before, behind)), conv.weight, conv.bias, (stride, 1))
    assert torch.equal(conv(x), wanted)
    assert wanted.shape[2] == -(-size // stride)


@pytest.mark.parametrize("size", [(64, 64), (65, 65), (50, 83)])
def test_efficientnet_lite0_is_timm_s(size: tuple[int, int]) -> None:
    """Its parts have other names there, and the same order."""
    ours = randomize_norms(efficientnet_lite0(7), 0, (3, *size)).eval()
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=7).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_mobilenet_v2_with_padding_of_its_own_in_front_of_each_stride() -> None:
    """32 pixels stay even down to the last stride, 33 stay odd."""
    model = randomize_norms(mobilenet_v2(7, 0.25, padding="tf"), 0, (3, 32, 32)).eval()
    plain = mobilenet_v2(7, 0.25).eval()
    plain.load_state_dict(model.state_dict())
    x, odd = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        assert not torch.allclose(model(x), plain(x), rtol=1e-2)
        assert torch.allclose(model(odd), plain(odd), rtol=1e-4, atol=1e-5)
        for name, conv in list(plain.named_modules()):
            if isinstance(conv, nn.Conv2d) and conv.stride == (2, 2):
                conv.padding = (0, 0)
                plain.set_submodule(name, nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv))
        assert torch.allclose(model(x), plain(x), rtol=1e-4, atol=1e-5)


def test_the_command_line_s_name_is_the_same_network() -> None:
    ours, named = mobilenet_v2(5, padding="tf"), mobilenet_v2_tf(5)
    assert str(ours) == str(named)
    assert sum(isinstance(m, SameConv2d) for m in named.modules()) == 5


@pytest.mark.parametrize("make", [mobilenet_v2, efficientnet_lite0])
def test_another_padding_is_refused(make: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="padding must be one of symmetric, tf, got 'same'"):
        make(10, padding="same")


@pytest.mark.parametrize("make", [mobilenet_v2, efficientnet_lite0])
def test_the_whole_network_is_native_and_the_padding_costs_no_byte(make: Callable[..., nn.Module]) -> None:
    """Blocks are streamed as they are without it: their wide tensors would not fit."""
    tf, plain = (make(10, padding=padding) for padding in ("tf", "symmetric"))
    least = [sparsebp.min_budget(model, input_size=(3, 64, 64)) for model in (tf, plain)]
    assert least[0] == least[1] < 13_000
    reach = sparsebp.plan(tf, "1MB", input_size=(3, 64, 64)).reach
    assert reach.trainable == reach.layers == sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in tf.modules())


@pytest.mark.parametrize("make", [mobilenet_v2, efficientnet_lite0])
def test_a_plan_file_of_it_predicts_what_torch_does(make: Callable[..., nn.Module], tmp_path: Path) -> None:
    """Without torch, at an even size."""
    model = randomize_norms(make(4, padding="tf"), 0, (3, 48, 48)).eval()
    x = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        expected = model(x)
    sparse = sparsebp.convert(model, "64KB", input_size=(3, 48, 48), batch_size=1)
    sparsebp.export(sparse, tmp_path / "plan", classes=["a", "b", "c", "d"], lr=0.001)
    found = Session(tmp_path / "plan").predict(x.permute(0, 2, 3, 1).contiguous().numpy())
    assert torch.allclose(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_published_weights_tell_ants_from_bees(data_root: Path) -> None:
    """Photographs, with the pixels that the weights want, at an even size."""
    model = efficientnet_lite0().eval()
    weights = read_weights(data_root / "efficientnet_lite0_imagenet.pt")
    assert load_pretrained(model, weights).fresh is None
    preprocess = usual_preprocess(weights, (224, 224))
    first = between = 0
    for name, label in (("ants", ANT), ("bees", BEE)):
        for file in sorted((data_root / "ants_bees" / "val" / name).iterdir())[:10]:
            picture = torch.from_numpy(np.array(preprocess.fit(Image.open(file).convert("RGB"))))
            with torch.no_grad():
                logits = model(preprocess.normalise(picture[None]))[0]
            first += int(logits.argmax()) == label
            between += int(logits[[ANT, BEE]].argmax()) == [ANT, BEE].index(label)
    assert first >= 10, "of twenty, among a thousand classes; 12 in plain torch"
    assert between >= 18, "of twenty, when it can only be one or the other"
