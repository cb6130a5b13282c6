"""``sparsebp export --onnx``: of a run, of weights, of a plan file; all say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import CLASSES, RUN, SIDE, Run, assert_ascii, here, network, pictures, run
from sparsebp.cli.errors import Exit
from sparsebp.cli.pretrained import load
from sparsebp.data import Preprocess
from sparsebp.networks.pretrained import read_weights, write_weights

__all__ = ["here", "run"]  # fixtures

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime, which runs the files, is not installed")
pytest.importorskip("onnxscript", reason="onnxscript, with which torch writes them, is not installed")


def predict(file: Path | str) -> tuple[np.ndarray, dict[str, str]]:
    """Logits for eight pictures, and what the file says of itself."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    images = pictures(8, 5).images.transpose(0, 3, 1, 2).astype(np.float32)
    return session.run(None, {"pictures": images})[0], session.get_modelmeta().custom_metadata_map


def test_a_run_its_weights_and_its_plan_file_make_the_same_file(run: Run, here: Path) -> None:
    assert run(*RUN, "--epochs", "1", "--out", "run")[0] == Exit.OK
    code, out, err = run("export", "run", "--onnx", "run.onnx")
    assert (code, err) == (Exit.OK, "")
    assert_ascii(out)
    assert re.search(r"input +pictures: float32 \[N, 3, 16, 16\], RGB, pixels from 0 to 255\n", out)
    assert re.search(r"output +logits: float32 \[N, 4\]: blue, green, grey, red\n", out)
    weights = read_weights("run/model.safetensors")
    model = load("tiny:tiny", Path("run/model.safetensors"), list(CLASSES)).model
    preprocess = Preprocess.from_dict(weights.metadata["preprocess"])
    with torch.no_grad():
        expected = model(preprocess.normalise(torch.from_numpy(pictures(8, 5).images))).numpy()
    made, notes = predict("run.onnx")
    np.testing.assert_allclose(made, expected, atol=1e-4)
    assert json.loads(notes["classes"]) == list(CLASSES)
    assert json.loads(notes["origin"]) == {"model": "tiny:tiny"}
    assert run("export", "--weights", "run/model.safetensors", "--onnx", "weights.onnx")[0] == Exit.OK
    assert run("export", "run", "--out", "plan.safetensors")[0] == Exit.OK
    assert run("export", "plan.safetensors", "--onnx", "plan.onnx")[0] == Exit.OK
    first, *others = (Path(name).read_bytes() for name in ("run.onnx", "weights.onnx", "plan.onnx"))
    assert all(other == first for other in others)


def test_weights_from_elsewhere_need_to_be_described(run: Run, here: Path) -> None:
    how = ["export", "--weights", "weights.pt", "--model", "tiny:tiny", "--onnx", "made.onnx"]
    code, _, err = run(*how)
    assert code == Exit.USAGE
    assert "--classes is missing" in err
    code, out, _ = run(*how, "--classes", "10", "--input-size", "16", "--range", "-1,1", "--json")
    assert code == Exit.OK
    assert json.loads(out)["output"] == "logits: float32 [N, 10], without names"
    preprocess = json.loads(predict("made.onnx")[1]["preprocess"])
    assert (preprocess["size"], preprocess["range"]) == ([16, 16], [-1, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "weights.pt", "--out", "plan.safetensors"], "--onnx: --out is for plan files"),
        (["--weights", "weights.pt", "--budget", "1MB"], "--onnx: --budget is for plan files"),
        (["run", "--weights", "weights.pt"], "RUN has weights of its own; leave --weights weights.pt out, or run"),
        ([], "--weights is missing: what is to be exported? Give the folder of a run, or --weights FILE"),
        (["pictures"], "run: there is no checkpoint of a run in pictures"),
        (["--weights", "absent.pt"], "--weights: no such file: absent.pt"),
        (["--weights", "weights.pt", "--model", "tiny:tiny", "--data", "pictures"], "classifier.1 would be untrained"),
    ],
)
def test_what_is_refused(run: Run, here: Path, options: list[str], message: str) -> None:
    code, out, err = run("export", *options, "--onnx", "made.onnx")
    assert (code, out) == (Exit.USAGE, "")
    assert message in err
    assert not Path("made.onnx").exists()


def test_a_run_that_is_not_finished_exports_its_newest_checkpoint(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "sparsebp.cli.onnx_file.export_onnx", lambda *a, **how: (Path(a[1]).touch(), written.append(how))
    )
    place = Path("run/checkpoint-000007")
    place.mkdir(parents=True)
    about = {"classes": list(CLASSES), "model": "tiny:tiny", "preprocess": Preprocess((SIDE, SIDE)).to_dict()}
    write_weights(place / "weights.safetensors", network(3), about)
    code, out, _ = run("export", "run", "--onnx", "made.onnx")
    assert code == Exit.OK
    assert "tiny:tiny, run/checkpoint-000007/weights.safetensors" in out
    assert written[0]["preprocess"].size == (SIDE, SIDE)
