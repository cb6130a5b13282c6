"""The examples that train other kinds of networks: with tiny settings each learns, in the bytes that were planned."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import declared_ops  # noqa: F401 - timm can be imported from here on
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """An example as a module that no other test sees."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def losses(out: str) -> list[tuple[float, float]]:
    """The first and the last loss of each run of sparsebp."""
    return [(float(a), float(b)) for a, b in re.findall(r"loss ([\d.]+) to ([\d.]+)", out)]


def cells(out: str, row: str) -> list[str]:
    """A row of the printed table, without its name."""
    line = next(line for line in out.splitlines() if line.startswith("│") and row in line)
    return [cell.strip() for cell in line.split("│")[2:-1]]


def number(text: str) -> float:
    return float(text.rstrip("%").replace(",", ""))


def assert_planned(out: str) -> None:
    memory = re.search(r"predicted ([\d,]+), measured ([\d,]+), budget ([\d,]+) bytes", out)
    assert memory, out
    predicted, measured, budget = map(number, memory.groups())
    assert predicted == measured <= budget


def test_a_u_net_segments(capsys: pytest.CaptureFixture[str]) -> None:
    load("segmentation").main(images=128, epochs=10)
    out = capsys.readouterr().out
    assert_planned(out)
    before, after = (number(cells(out, row)[0]) for row in ("before", "sparsebp"))
    assert after > before + 0.15, "mean intersection over union"


def test_ds_cnn_and_m5_hear(capsys: pytest.CaptureFixture[str]) -> None:
    load("keywords").main(count=160, epochs=3)
    out = capsys.readouterr().out
    assert all(last < 0.7 * first for first, last in losses(out))
    for name in ("DS-CNN", "M5"):
        before, after, _, _, measured, planned, _ = cells(out, name)
        assert number(after) > number(before) + 15, "percent"
        assert measured == planned


def test_two_outputs_learn_by_a_loss_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    load("two_outputs").main(images=200, epochs=4)
    out = capsys.readouterr().out
    assert_planned(out)
    ((first, last),) = losses(out)
    assert last < 0.5 * first
    shapes, degrees = map(number, cells(out, "before")[:2])
    shapes_after, degrees_after = map(number, cells(out, "sparsebp")[:2])
    assert shapes_after > shapes + 15, "percent"
    assert degrees_after < 0.8 * degrees


def test_timm_s_mobilenet_v3_adapts(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which brings the digits, is not installed")
    load("mobilenet_v3").main(network="mobilenetv3_small_050", images=256, pretraining=3, epochs=2)
    out = capsys.readouterr().out
    assert_planned(out)
    before, after = (number(cells(out, row)[0]) for row in ("changed pictures", "adapted by sparsebp"))
    assert after > before + 5, "percent"
