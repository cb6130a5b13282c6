"""``--weights timm:NAME`` and ``--weights torchvision:NAME``, from pictures to what the trained weights say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors
from fetched import MOBILENET_V3, fetched_by_timm, fetched_by_torchvision
from runs import CLASSES, Run, here, run
from sparsebp.cli.errors import Exit
from sparsebp.networks.pretrained import read_weights
from sparsebp.runtime import Session

__all__ = ["here", "run"]  # fixtures

TIMM = f"timm:{MOBILENET_V3}"
SMALL = [
    *("--data", "pictures", "--input-size", "32", "--budget", "1MB", "--no-dense-audit"),
    *("--batch-size", "8", "--threads", "1", "--workers", "0"),
]


def test_weights_of_timm_bring_their_network(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the trained weights say so, and where they came from, and how pictures are scaled."""
    fetched_by_timm(MOBILENET_V3, here / "cache", monkeypatch)
    code, out, err = run("finetune", *SMALL, "--weights", TIMM, "--epochs", "1", "--out", "run")
    assert code == Exit.OK, err
    assert re.search(rf"model +{TIMM}, {TIMM}\n", out)
    assert re.search(r"input +32x32, crop, bicubic, pixels 0 to 1, less 0.485, 0.456, 0.406", out)
    known = read_weights("run/model.safetensors").metadata
    assert known["model"] == TIMM
    assert known["source"] == f"{TIMM}, timm/{MOBILENET_V3}.lamb_in1k"
    assert json.loads(Path("run/report.json").read_text())["origin"]["source"] == known["source"]
    with safetensors.safe_open("run/model.safetensors", "pt") as file:
        assert TIMM in file.metadata()["sparsebp"]
    code, out, err = run("evaluate", "--weights", "run/model.safetensors", "--data", "pictures", "--workers", "0")
    assert code == Exit.OK, err
    again = ["finetune", *SMALL, "--weights", "run/model.safetensors", "--epochs", "1", "--out", "again"]
    assert run(*again)[0] == Exit.OK
    assert read_weights("again/model.safetensors").metadata["source"] == known["source"]


def test_a_run_goes_on_with_the_weights_that_it_began_with(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched_by_timm(MOBILENET_V3, here / "cache", monkeypatch)
    begun = ["finetune", *SMALL, "--weights", TIMM, "--epochs", "1", "--out", "run"]
    assert run(*begun)[0] == Exit.OK
    for options in (["--weights", TIMM], []):
        code, _, err = run("finetune", "--resume", "--out", "run", *options)
        assert code == Exit.OK, err
    code, _, err = run("finetune", "--resume", "--out", "run", "--weights", "timm:mobilenetv3_small_075")
    assert code == Exit.USAGE
    assert f"--weights: timm:mobilenetv3_small_075 differs from what the run began with, {TIMM}" in err


def test_weights_of_torchvision_s_mobilenet_v2_need_no_torchvision_afterwards(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched_by_torchvision("mobilenet_v2", here / "cache", monkeypatch)
    how = ["--weights", "torchvision:mobilenet_v2", "--data", "pictures", "--input-size", "32"]
    code, out, err = run("export", *how, "--out", "plan.safetensors")
    assert (code, err) == (Exit.OK, "")
    assert re.search(r"model +mobilenet_v2, torchvision:mobilenet_v2\n", out)
    assert tuple(Session("plan.safetensors").classes or ()) == CLASSES
    known = read_weights("plan.safetensors").metadata
    assert known["model"] == "mobilenet_v2"
    assert known["source"].startswith("torchvision:mobilenet_v2, MobileNet_V2_Weights.")


def test_an_onnx_file_of_them_needs_no_other_option(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched_by_torchvision("mobilenet_v2", here / "cache", monkeypatch)
    written: list[dict[str, Any]] = []

    def export_onnx(_: Any, file: Path, **how: Any) -> None:
        file.touch()
        written.append(how)

    monkeypatch.setattr("sparsebp.cli.onnx_file.export_onnx", export_onnx)
    code, out, err = run("export", "--weights", "torchvision:mobilenet_v2", "--onnx", "made.onnx")
    assert (code, err) == (Exit.OK, "")
    assert "float32 [N, 1000]: tench, goldfish" in out
    (how,) = written
    assert how["preprocess"].size == (224, 224)
    assert how["origin"]["model"] == "mobilenet_v2"
    assert how["origin"]["source"].startswith("torchvision:mobilenet_v2, ")


def test_a_plan_needs_the_network_alone(run: Run, here: Path) -> None:
    code, out, err = run("plan", "--model", TIMM, "--classes", "4", "--input-size", "64", "--json")
    assert (code, err) == (Exit.OK, "")
    assert json.loads(out)["layers"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", TIMM], f"--weights is missing: {TIMM} comes without; give .* file, or --weights {TIMM}"),
        (["--weights", "timm:mobilenet"], "--weights: timm has none called 'mobilenet'"),
        (["--weights", "weights.pt", "--model", "timm:mobilenet"], "--model: timm has no network called 'mobilenet'"),
    ],
)
def test_refusals_name_the_option(run: Run, here: Path, options: list[str], message: str) -> None:
    code, _, err = run("finetune", *SMALL, *options, "--out", "run")
    assert code == Exit.USAGE
    assert re.search(message, err)
