"""The first hour of somebody with 245 photographs: train, see how sure that is, look at mistakes, ask of a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sparsebp
from PIL import Image
from runs import Run, run
from sparsebp.cli.errors import Exit

__all__ = ["run"]  # fixtures


def test_ants_and_bees(run: Run, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs at 97 x 97 pixels, for half a minute."""
    pictures, weights = data_root / "ants_bees", data_root / "mobilenet_v2_imagenet.pt"
    if not (pictures.is_dir() and weights.is_file()):
        pytest.skip(f"{data_root} has no ants_bees or no mobilenet_v2_imagenet.pt")
    monkeypatch.chdir(tmp_path)
    short = ["--input-size", "97", "--epochs", "2", "--no-dense-audit", "--workers", "0"]
    code, out, err = run("finetune", "--data", str(pictures), "--weights", str(weights), "--out", "run", *short)
    assert code == Exit.OK, err
    assert "153 pictures say little" in out

    test = json.loads(Path("run/report.json").read_text())["test"]
    assert test["pictures"] == 153
    assert test["interval"][0] < test["accuracy"] < test["interval"][1]
    assert test["balanced"] > 0.7
    command = ["evaluate", "--weights", "run", "--data", str(pictures), "--worst", "5", "--json", "--workers", "0"]
    code, out, _ = run(*command)
    assert code == Exit.OK
    assert json.loads(out)["confusion"] == test["confusion"]
    with Image.open("run/worst.png") as sheet:
        assert sheet.width > sheet.height

    right = 0
    for name in ("ants", "bees"):
        code, out, _ = run("predict", "--weights", "run", "--json", str(pictures / "val" / name), "--workers", "0")
        assert code == Exit.OK
        right += sum(json.loads(line)["class"] == name for line in out.splitlines())
    assert right / 153 == test["accuracy"]
    assert sparsebp.load("run").classes == ("ants", "bees")
