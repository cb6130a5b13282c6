"""Pretrained weights in a model: loaded where they fit, the last layer replaced, written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import sparsebp
import torch
from networks import biased_network, tiny_mobilenet
from sparsebp.data import Preprocess
from sparsebp.networks.efficientnet_lite0 import efficientnet_lite0
from sparsebp.networks.pretrained import (
    WeightFile,
    last_layer,
    load_pretrained,
    read_weights,
    replace_classifier,
    usual_preprocess,
    write_weights,
)
from torch import nn
from weights import State, assert_equal, state

# -- loading -----------------------------------------------------------------------------------------


def test_weights_that_fit_are_loaded_whole() -> None:
    model = tiny_mobilenet(0)
    assert load_pretrained(model, WeightFile(state(1), {})).fresh is None
    assert_equal(dict(model.state_dict()), state(1))


def test_a_classifier_for_other_classes_starts_afresh() -> None:
    """It keeps the model's own values; everything else is the file's."""
    model = tiny_mobilenet(0, classes=4)
    own = {name: t.clone() for name, t in model.state_dict().items()}
    assert load_pretrained(model, WeightFile(state(1, classes=10), {})).fresh == "classifier.1"
    for name, value in model.state_dict().items():
        assert torch.equal(value, own[name] if name.startswith("classifier") else state(1)[name]), name


def test_counters_of_batches_may_be_missing() -> None:
    """As in files from before torch 0.4.1."""
    given = {name: t for name, t in state(1).items() if not name.endswith("num_batches_tracked")}
    model = tiny_mobilenet(0)
    assert load_pretrained(model, WeightFile(given, {})).fresh is None
    assert torch.equal(model.features[0][0].weight, given["features.0.0.weight"])


def test_float16_widens() -> None:
    half = {name: t.half() if t.is_floating_point() else t for name, t in state(1).items()}
    model = tiny_mobilenet(0)
    load_pretrained(model, WeightFile(half, {}))
    assert model.features[0][0].weight.dtype == torch.float32
    assert torch.equal(model.features[0][0].weight, half["features.0.0.weight"].float())


def _changed(**changes: Any) -> State:
    return {name: t for name, t in {**state(1), **changes}.items() if t is not None}


LAST = "classifier.1.weight"
UNFIT: dict[str, tuple[State, str]] = {
    "lacks one": (_changed(**{"features.1.conv.1.weight": None}), r"they lack features\.1\.conv\.1\.weight$"),
    "lacks several": ({LAST: state()[LAST]}, r"they lack features\.0\.0\.weight and \d+ more$"),
    "has one more": (_changed(extra=torch.zeros(1)), "the model does not know extra$"),
    "another model": (dict(biased_network().state_dict()), "another model: they lack .*, the model does not know"),
    "another width": (
        sparsebp.models.mobilenet_v2(
            10, 1.0, inverted_residual_setting=[(1, 16, 1, 1), (6, 32, 2, 2), (6, 48, 2, 2)], last_channel=64
        ).state_dict(),
        r"features\.0\.0\.weight has shape \[32, 3, 3, 3\], the model expects \[16, 3, 3, 3\]; \d+ of \d+ shapes",
    ),
    "another classifier": (_changed(**{LAST: torch.zeros(10, 65)}), r"classifier\.1\.weight has shape \[10, 65\]"),
    "other classes and shapes": (
        _changed(**{LAST: torch.zeros(5, 64), "features.0.1.bias": torch.zeros(17)}),
        "has shape",
    ),
    "not a number": (_changed(**{"features.0.1.bias": torch.full((16,), torch.nan)}), r"features\.0\.1\.bias holds"),
    "infinite": (_changed(**{LAST: torch.full((10, 64), torch.inf)}), r"classifier\.1\.weight holds numbers that are"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_weights_that_do_not_fit_leave_the_model_as_it_is(kind: str) -> None:
    given, reason = UNFIT[kind]
    model = tiny_mobilenet(0)
    with pytest.raises(ValueError, match=f"--weights w.pt: .*{reason}"):
        load_pretrained(model, WeightFile(dict(given), {}), "--weights w.pt")
    assert_equal(dict(model.state_dict()), state(0))


# -- the last layer ------------------------------------------------------------------------------------


def squeezed(**options: Any) -> nn.Module:
    """Its classifier is a convolution, pooled afterwards."""
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 10, 1, **options), nn.AdaptiveAvgPool2d(1))


LAYERS: dict[str, tuple[Callable[[], nn.Module], str, dict[str, Any]]] = {
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.Linear(5, 10)), "2", {"in_features": 5}),
    "linear without bias": (lambda: nn.Sequential(nn.Linear(8, 10, bias=False)), "0", {"bias": None}),
    "a linear layer before a convolution": (lambda: nn.Sequential(nn.Linear(3, 10), nn.Conv2d(3, 6, 1)), "0", {}),
    "convolution": (squeezed, "2", {"in_channels": 6, "kernel_size": (1, 1)}),
    "convolution without bias": (lambda: squeezed(bias=False), "2", {"bias": None}),
    "grouped convolution": (lambda: squeezed(groups=2), "2", {"groups": 2}),
    "any convolution": (
        lambda: squeezed(stride=2, padding=1, dilation=2, padding_mode="reflect"),
        "2",
        {"stride": (2, 2), "padding": (1, 1), "dilation": (2, 2), "padding_mode": "reflect"},
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_the_last_layer_gets_another_number_of_outputs_and_stays_itself_otherwise(kind: str) -> None:
    make, name, kept = LAYERS[kind]
    model = make()
    assert last_layer(model) == name
    before = [p.clone() for n, p in model.named_parameters() if not n.startswith(name)]
    replace_classifier(model, 4)
    layer = model.get_submodule(name)
    assert layer.weight.shape[0] == 4
    assert all(getattr(layer, key) == value for key, value in kept.items()), layer
    after = [p for n, p in model.named_parameters() if not n.startswith(name)]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_last_layer_with_the_wanted_outputs_is_left_alone(kind: str) -> None:
    model = LAYERS[kind][0]()
    layers = list(model.modules())
    replace_classifier(model, 10)
    assert all(a is b for a, b in zip(model.modules(), layers, strict=True))


def test_its_type_is_the_model_s() -> None:
    model = nn.Sequential(nn.Linear(3, 10).double())
    replace_classifier(model, 2)
    assert model[0].weight.dtype == torch.float64


def test_a_model_without_such_a_layer_is_refused() -> None:
    assert last_layer(nn.ReLU()) is None
    with pytest.raises(ValueError, match="no linear layer or convolution that could tell 3 classes apart"):
        replace_classifier(nn.Sequential(nn.ReLU()), 3)


# -- what pictures become ------------------------------------------------------------------------------


def test_folded_batch_norms_mean_pixels_around_zero() -> None:
    """As TensorFlow's weights have them; their variance may be 1 less the epsilon."""
    folded = state(1)
    for name, t in folded.items():
        if name.endswith("running_mean"):
            t.zero_()
        elif name.endswith("running_var"):
            t.fill_(1 - 1e-3)
    expected = Preprocess((16, 24), range=(-1, 1), mean=(0, 0, 0), std=(1, 1, 1))
    assert usual_preprocess(WeightFile(folded, {}), (16, 24)) == expected


def test_efficientnet_lite_wants_the_pixels_that_it_was_trained_on() -> None:
    """(v - 127) / 128, whatever stands before the names."""
    weights = {f"model.{name}": t for name, t in efficientnet_lite0(3).state_dict().items()}
    pixels = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    preprocess = usual_preprocess(WeightFile(weights, {}), (1, 1))
    assert torch.allclose(preprocess.normalise(pixels).flatten(), torch.tensor([-127.0, 0.0, 128.0]) / 128, atol=1e-7)
    weights["model._blocks.0._se_reduce.weight"] = torch.ones(8, 32, 1, 1)
    assert usual_preprocess(WeightFile(weights, {}), (1, 1)) == Preprocess((1, 1)), "EfficientNet-B0 has other pixels"


def test_other_weights_mean_imagenet_s_statistics() -> None:
    assert usual_preprocess(WeightFile(state(1), {}), (16, 24)) == Preprocess((16, 24))
    assert usual_preprocess(WeightFile({"0.weight": torch.ones(3)}, {}), (8, 8)) == Preprocess((8, 8))


def test_what_sparsebp_wrote_beside_the_weights_wins(tmp_path: Path) -> None:
    known = Preprocess((32, 32), range=(0, 2), mean=(1, 1, 1), std=(2, 2, 2), resize="pad", filter="box")
    write_weights(tmp_path / "w.safetensors", tiny_mobilenet(), {"preprocess": known.to_dict(), "classes": ["a", "b"]})
    found = read_weights(tmp_path / "w.safetensors")
    assert found.metadata == {"preprocess": known.to_dict(), "classes": ["a", "b"]}
    again = usual_preprocess(found, (16, 16))
    assert again == Preprocess((16, 16), range=(0, 2), mean=(1, 1, 1), std=(2, 2, 2), resize="pad", filter="box")


@pytest.mark.parametrize("text", ["{", "[1]", "3", '{"preprocess": 3}', '{"preprocess": {"size": 3, "colour": 1}}'])
def test_damaged_words_beside_the_weights_are_no_crash(text: str, tmp_path: Path) -> None:
    safetensors.torch.save_file(state(), tmp_path / "w.safetensors", {"sparsebp": text})
    try:
        usual_preprocess(read_weights(tmp_path / "w.safetensors"), (16, 16))
    except ValueError as error:
        assert "w.safetensors" in str(error)  # noqa: PT017 - either is fine


# -- writing ---------------------------------------------------------------------------------------------


def test_written_weights_load_into_the_original_class_without_sparsebp(tmp_path: Path) -> None:
    model = sparsebp.convert(tiny_mobilenet(1), 16 * 1024, input_size=(3, 16, 16))
    write_weights(tmp_path / "w.safetensors", sparsebp.restore(model), {})
    plain = tiny_mobilenet(0)
    plain.load_state_dict(safetensors.torch.load_file(tmp_path / "w.safetensors"))
    assert_equal(dict(plain.state_dict()), state(1))


def test_weights_whose_memory_was_reordered_are_written_as_usual(tmp_path: Path) -> None:
    model = tiny_mobilenet(1).to(memory_format=torch.channels_last)
    write_weights(tmp_path / "w.safetensors", model, {})
    assert_equal(
        {n: safetensors.torch.load_file(tmp_path / "w.safetensors")[n] for n in state(1)},
        state(1),
    )


def test_writing_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    about = {"classes": ["a", "b"], "accuracy": 0.5, "model": "tiny"}
    written = set()
    for i in range(20):
        write_weights(tmp_path / f"{i}.safetensors", tiny_mobilenet(), about)
        written.add((tmp_path / f"{i}.safetensors").read_bytes())
    assert len(written) == 1
    with safetensors.safe_open(tmp_path / "0.safetensors", framework="pt") as opened:
        assert json.loads(opened.metadata()["sparsebp"]) == about
