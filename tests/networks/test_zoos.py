"""``torchvision:NAME`` and ``timm:NAME``: networks and weights that these packages bring."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from urllib.error import URLError

import huggingface_hub
import pytest
import sparsebp
import torch
from declared_ops import timm, torchvision
from fetched import MOBILENET_V3, fetched_by_timm, fetched_by_torchvision
from networks import tiny_mobilenet
from sparsebp.data import Preprocess
from sparsebp.networks.names import build_model
from sparsebp.networks.pretrained import read_weights, usual_preprocess
from weights import assert_equal

# -- networks ----------------------------------------------------------------------------------------


def test_a_network_of_timm_has_the_classes_that_are_asked_for() -> None:
    model = build_model(f"timm:{MOBILENET_V3}.lamb_in1k", 4)
    assert type(model) is timm.models.MobileNetV3
    assert model.num_classes == 4


def test_a_network_of_torchvision_too() -> None:
    model = build_model("torchvision:mobilenet_v3_small", 4)
    assert type(model) is torchvision.models.MobileNetV3
    assert model.classifier[-1].out_features == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:mobilenetv3_smal_050", f"^model: timm has no network called .*did you mean '{MOBILENET_V3}'"),
        ("torchvision:mobilenetv2", r"^model: torchvision has no network .*called 'mobilenetv2' \(did.*'mobilenet_v2'"),
        ("torchvision:fcn_resnet50", r"^model: torchvision has no network for pictures called 'fcn_resnet50'"),
    ],
)
def test_a_name_that_nothing_has_is_answered_with_those_like_it(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, 4)


# -- weights -----------------------------------------------------------------------------------------


def test_weights_of_torchvision_come_with_what_they_want(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = fetched_by_torchvision("mobilenet_v2", tmp_path, monkeypatch)
    found = read_weights("torchvision:mobilenet_v2")
    assert_equal(found.tensors, state)
    chosen = torchvision.models.MobileNet_V2_Weights.DEFAULT
    assert found.metadata["model"] == "mobilenet_v2", "sparsebp has this network too"
    assert found.metadata["source"] == f"torchvision:mobilenet_v2, {chosen}, {chosen.url}"
    assert found.metadata["classes"] == chosen.meta["categories"]
    wanted = Preprocess((96, 96), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert usual_preprocess(found, (96, 96)) == wanted


def test_weights_of_timm_come_with_what_they_want(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = fetched_by_timm(MOBILENET_V3, tmp_path, monkeypatch)
    found = read_weights(f"timm:{MOBILENET_V3}")
    assert_equal(found.tensors, state)
    assert found.metadata["model"] == f"timm:{MOBILENET_V3}"
    assert found.metadata["source"] == f"timm:{MOBILENET_V3}, timm/{MOBILENET_V3}.lamb_in1k"
    assert len(set(found.metadata["classes"])) == 1000, "two birds and machines are both called crane"
    assert usual_preprocess(found, (96, 96)) == Preprocess((96, 96), filter="bicubic")


def test_networks_that_only_torchvision_has_are_called_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched_by_torchvision("squeezenet1_1", tmp_path, monkeypatch)
    assert read_weights("torchvision:squeezenet1_1").metadata["model"] == "torchvision:squeezenet1_1"


def test_they_load_into_a_model_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that ImageNet has keep their rows."""
    state = fetched_by_torchvision("mobilenet_v2", tmp_path, monkeypatch)
    model = sparsebp.models.mobilenet_v2(3)
    loaded = sparsebp.load_weights(model, "torchvision:mobilenet_v2", ["goldfish", "my cat", "tench"])
    assert loaded.fresh is None
    rows = torchvision.models.MobileNet_V2_Weights.DEFAULT.meta["categories"]
    assert torch.equal(model.classifier[1].weight[2], state["classifier.1.weight"][rows.index("tench")])


def test_a_file_of_such_a_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(tiny_mobilenet(0).state_dict(), "timm:mine")
    assert read_weights("timm:mine").metadata == {}


# -- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:mobilenetv3_small_05", f"^weights: timm has none .*did you mean .*'{MOBILENET_V3}'"),
        (f"timm:{MOBILENET_V3}.lamb_in22k", f"^weights: timm has none .*did you mean '{MOBILENET_V3}.lamb_in1k'"),
        ("torchvision:mobilenet_v22", r"^weights: torchvision has no network .* \(did you mean 'mobilenet_v2'"),
    ],
)
def test_weights_that_nobody_has_are_answered_with_those_like_them(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_weights(name)


def test_what_the_network_is_in_the_way_of_is_said_for_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ConnectionError, match=r"^weights: torchvision:mobilenet_v2 cannot be fetched: .*no route to"):
        read_weights("torchvision:mobilenet_v2")


def test_what_the_network_is_in_the_way_of_is_said_for_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=rf"^weights: timm:{MOBILENET_V3} cannot be fetched: .* or give a file$"):
        read_weights(f"timm:{MOBILENET_V3}")


def test_a_download_that_is_not_what_it_should_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(url: str, file: str, hash_prefix: str | None, progress: bool) -> None:
        assert hash_prefix, "what tells a file that was tampered with"
        raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "00000000")')

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", serve)
    with pytest.raises(ConnectionError, match="invalid hash value"):
        read_weights("torchvision:mobilenet_v2")


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_a_package_that_is_missing_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return whole(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    for argument, call in (("weights", read_weights), ("model", build_model)):
        with pytest.raises(ImportError, match=rf"^{argument}: .* is not installed: pip install {package}$"):
            call(f"{package}:mobilenetv3_small_050")


def test_a_package_that_does_not_go_with_this_torch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ImportError, match=r"torchvision, which cannot be imported: operator torchvision::nms"):
        read_weights("torchvision:mobilenet_v2")
