"""ONNX files, run by onnxruntime: what they compute, what they take, and what stands in them."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import sparsebp
import torch
from declared_ops import timm
from networks import residual_network, tiny_mobilenet
from PIL import Image
from sparsebp.data import Preprocess
from torch import nn
from torch.nn.functional import cross_entropy

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime, which runs the files, is not installed")

PREPROCESS = Preprocess((20, 16), range=(-1.0, 1.0), mean=(0.1, -0.2, 0.0), std=(0.5, 1.0, 2.0))
SHORT = {"inverted_residual_setting": [(1, 16, 1, 1), (6, 24, 2, 2)], "last_channel": 64}
NAMES = [f"class {i}" for i in range(10)]


def pixels(count: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """uint8 [N, H, W, 3]."""
    return torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def run(file: Path, pictures: torch.Tensor) -> torch.Tensor:
    """What onnxruntime makes of uint8 [N, H, W, 3]."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (made,) = session.run(["logits"], {"pictures": pictures.permute(0, 3, 1, 2).float().numpy()})
    return torch.from_numpy(made)


def expected(model: nn.Module, pictures: torch.Tensor, preprocess: Preprocess = PREPROCESS) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(preprocess.normalise(pictures))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A small MobileNetV2, and its file."""
    model, file = tiny_mobilenet(0, calm=True), tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    sparsebp.export_onnx(model, file, preprocess=PREPROCESS, classes=NAMES, origin={"model": "tiny"})
    return model, file


# -- what it computes --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pixels_go_in_and_the_network_s_logits_come_out(tiny: tuple[nn.Module, Path], count: int) -> None:
    pictures = pixels(count, (20, 16), count)
    made = run(tiny[1], pictures)
    assert made.shape == (count, 10)
    assert close(made, expected(tiny[0], pictures))


def test_a_trained_network_predicts_on_a_thousand_real_pictures_what_it_predicts_here(
    data_root: Path, tmp_path: Path
) -> None:
    """The native program, and on some of them plain torch: within 1e-4."""
    size = (64, 64)
    data = np.load(data_root / "cifar10_test.npz")
    jpeg, offsets = data["jpeg"].tobytes(), data["offsets"]
    preprocess = Preprocess(size, range=(-1.0, 1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    files = [Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]])).convert("RGB") for i in range(1000)]
    pictures = torch.from_numpy(np.stack([preprocess.fit(file) for file in files]))
    labels = torch.from_numpy(data["labels"][:1000].astype(np.int64))
    network = sparsebp.models.mobilenet_v2(10)
    sparsebp.load_weights(network, data_root / "mobilenet_v2_imagenet.pt", [str(name) for name in data["classes"]])
    model = sparsebp.convert(network, "256KB", input_size=(3, *size)).train()
    optimizer = sparsebp.optim.SGD(model, lr=0.001)
    for i in range(20):
        cross_entropy(model(preprocess.normalise(pictures[i : i + 1])), labels[i : i + 1]).backward()
        optimizer.step()
    sparsebp.export_onnx(model, tmp_path / "trained.onnx", preprocess=preprocess)
    made = torch.cat([run(tmp_path / "trained.onnx", part) for part in pictures.split(250)])
    natively = torch.cat([expected(model, part, preprocess) for part in pictures.split(250)])
    assert float((made - natively).abs().max()) < 1e-4
    in_torch = expected(sparsebp.restore(model), pictures[:250], preprocess)
    assert float((made[:250] - in_torch).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (residual_network, (20, 16)),
        (lambda: sparsebp.models.mobilenet_v2_tf(10, 0.35, **SHORT), (32, 48)),  # pads on two sides only
        (lambda: timm.create_model("mobilenetv3_small_050", num_classes=10), (64, 64)),  # gates, hard curves
    ],
    ids=["residual", "padding of TensorFlow", "timm's MobileNetV3"],
)
def test_other_networks(make: object, size: tuple[int, int], tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().eval()  # type: ignore[operator]
    preprocess = Preprocess(size)
    sparsebp.export_onnx(model, tmp_path / "other.onnx", preprocess=preprocess)
    pictures = pixels(3, size)
    assert close(run(tmp_path / "other.onnx", pictures), expected(model, pictures, preprocess))


def test_without_preprocessing_it_takes_what_the_network_takes(tmp_path: Path) -> None:
    """Of any number of channels; a softmax at the end stays."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 4, 3), nn.Softmax(1)).eval()
    sparsebp.export_onnx(model, tmp_path / "grey.onnx", input_size=(1, 8, 6), classes=["a", "b", "c"])
    session = onnxruntime.InferenceSession(tmp_path / "grey.onnx", providers=["CPUExecutionProvider"])
    x = torch.randn(4, 1, 8, 6, generator=torch.Generator().manual_seed(0))
    assert close(torch.from_numpy(session.run(None, {"pictures": x.numpy()})[0]), model(x).detach())


# -- what stands in it -------------------------------------------------------------------------------


def test_its_ops_are_plain_ones(tiny: tuple[nn.Module, Path]) -> None:
    """Of ONNX itself, with batch norms folded and no number of pictures fixed."""
    made = onnx.load(tiny[1])
    onnx.checker.check_model(made, full_check=True)
    assert [(opset.domain, opset.version) for opset in made.opset_import] == [("", 18)]
    plain = {"Conv", "Clip", "Add", "Mul", "ReduceMean", "GlobalAveragePool", "Reshape", "Flatten", "Gemm"}
    assert {node.op_type for node in made.graph.node} <= plain
    sides = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in made.graph.input]
    assert sides == [["batch", 3, 20, 16]]


def test_it_says_what_it_is(tiny: tuple[nn.Module, Path]) -> None:
    session = onnxruntime.InferenceSession(tiny[1], providers=["CPUExecutionProvider"])
    notes = session.get_modelmeta().custom_metadata_map
    assert json.loads(notes["classes"]) == NAMES
    assert Preprocess.from_dict(json.loads(notes["preprocess"])) == PREPROCESS
    assert json.loads(notes["origin"]) == {"model": "tiny"}
    assert notes["sparsebp"] == sparsebp.__version__


def test_it_says_nothing_of_the_machine_that_made_it(tiny: tuple[nn.Module, Path]) -> None:
    content = tiny[1].read_bytes()
    assert str(Path(sparsebp.__file__).parent).encode() not in content
    assert b"stack_trace" not in content


# -- what it leaves alone ----------------------------------------------------------------------------


def test_a_model_in_training_goes_on_training(tmp_path: Path) -> None:
    model = sparsebp.convert(tiny_mobilenet(0), "16KB", input_size=(3, 16, 16)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sparsebp.export_onnx(model, tmp_path / "midway.onnx", preprocess=Preprocess((16, 16)))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    optimizer = sparsebp.optim.SGD(model, lr=0.1)
    model(torch.ones(1, 3, 16, 16)).sum().backward()
    optimizer.step()
    assert not all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# -- refusals ----------------------------------------------------------------------------------------


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "onnxscript" else there(name, *a))
    with pytest.raises(ImportError, match=r"needs onnxscript, .*pip install 'sparsebp\[onnx\]'"):
        sparsebp.export_onnx(tiny_mobilenet(0), tmp_path / "never.onnx", preprocess=PREPROCESS)


class Two(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Undecided(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) if float(x.sum()) > 0 else x.amax((2, 3))


@pytest.mark.parametrize(
    ("model", "how", "error", "message"),
    [
        ("net.pt", {"input_size": (3, 8, 8)}, TypeError, r"^model: expected a torch\.nn\.Module, got str"),
        (Two(), {"input_size": (3, 8, 8)}, TypeError, r"^model: .*returns one tensor, this one returns tuple"),
        (nn.Flatten().double(), {}, ValueError, r"^input_size: expected \(C, H, W\), or preprocess"),
        (nn.Flatten(), {"input_size": (8, 8)}, ValueError, r"^input_size: expected \(C, H, W\), three .* got \(8, 8\)"),
        (nn.Flatten(), {"input_size": (3, 8, 8), "preprocess": PREPROCESS}, ValueError, r"^input_size: expected one"),
        (nn.Flatten(), {"preprocess": {}}, TypeError, r"^preprocess: expected a sparsebp\.data\.Preprocess, got dict"),
        (nn.Linear(4, 2).double(), {"input_size": (3, 8, 4)}, TypeError, r"^model: expected float32, but weight is"),
        (nn.Flatten(), {"input_size": (3, 2, 2), "classes": ["a"]}, ValueError, r"^classes: .*\[2, 12\].* 1 names"),
        (nn.Flatten(), {"input_size": (3, 2, 2), "classes": "abc"}, TypeError, r"^classes: expected the names"),
        (Undecided(), {"input_size": (3, 2, 2)}, ValueError, r"^model: torch\.onnx cannot write it: \w+: "),
    ],
)
def test_what_cannot_be_written(model: nn.Module, how: dict, error: type, message: str, tmp_path: Path) -> None:
    file = tmp_path / "earlier.onnx"
    file.write_text("as it was")
    with pytest.raises(error, match=message):
        sparsebp.export_onnx(model, file, **how)
    assert file.read_text() == "as it was"
