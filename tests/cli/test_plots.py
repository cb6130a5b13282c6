"""Pictures: what they show, which files they are written to, and that matplotlib stays optional."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sparsebp
from PIL import Image
from sparsebp.cli import plots
from sparsebp.planning.plan import Plan
from sparsebp.planning.plan_parts import CATEGORIES
from sparsebp.planning.timeline import block_names, timeline
from torch import nn


@pytest.fixture(scope="module")
def plan() -> Plan:
    return sparsebp.plan(sparsebp.models.mobilenet_v2(10), input_size=(3, 64, 96), max_update_ratio=0.02)


@pytest.fixture
def drawing() -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'sparsebp[plot]'")


def texts(file: Path) -> list[str]:
    """What is written in an SVG, which draws letters as shapes and keeps the words as comments."""
    return re.findall(r"<!-- (.*?) -->", file.read_text())


# -- moments --------------------------------------------------------------------------------------


def test_a_step_runs_forward_and_then_the_other_way_round(plan: Plan) -> None:
    steps = timeline(plan)
    names = [m.name for m in steps]
    assert names == names[::-1]
    half = len(steps) // 2
    assert [m.forward for m in steps] == [True] * half + [False] * half
    assert [name for name in names[:half] if name] == block_names(plan)
    assert block_names(plan)[0] == ".".join(plan.layers[0].name.split(".")[:2])
    assert block_names(plan)[-1] == "classifier"


def test_the_bytes_of_all_moments_are_the_plans(plan: Plan) -> None:
    steps = timeline(plan)
    assert {c: max(m.bytes[c] for m in steps) for c in CATEGORIES} == plan.peak_by_category()
    # Between buffers there may be gaps, which no category owns.
    assert 0.9 * plan.peak_bytes < max(m.total for m in steps) <= plan.peak_bytes


def test_names_are_as_short_as_they_can_tell_apart() -> None:
    stages = [nn.Sequential(nn.Conv2d(3 if i == 0 else 4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)) for i in range(2)]
    network = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    made = sparsebp.plan(network, "1MB", input_size=(3, 16, 16))
    assert block_names(made) == ["0.0", "0.2", "1.0", "1.2", "4"]


# -- the memory of a plan -------------------------------------------------------------------------


@pytest.mark.usefixtures("drawing")
def test_the_memory_of_a_plan_with_its_budget_peak_kinds_and_layers(plan: Plan, tmp_path: Path) -> None:
    plots.plot_memory(plan, tmp_path / "memory.svg")
    written = texts(tmp_path / "memory.svg")
    assert "Training memory over one step: input 64x96, batch 1, budget 256 KB" in written
    assert f"budget {plan.budget:,} bytes" in written
    assert f"peak {plan.peak_bytes:,} bytes" in written
    assert {"saved slices", "masks", "gradients", "scratch", "sampler", "forward"} <= set(written)
    assert "optimizer state" not in written, "the plan has none"
    for name in block_names(plan):
        assert written.count(name) == 2, "once forward, once backward"


@pytest.mark.usefixtures("drawing")
def test_a_budget_far_above_the_peak_is_written_and_not_drawn(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    made = sparsebp.plan(network, "1GB", input_size=(3, 16, 16), momentum=True)
    plots.plot_memory(made, tmp_path / "memory.svg")
    written = texts(tmp_path / "memory.svg")
    assert "optimizer state" in written
    assert any(text.endswith("budget 1 GB") for text in written)
    assert not any(text.startswith("budget") for text in written)


@pytest.mark.usefixtures("drawing")
def test_a_deep_network_names_only_as_many_layers_as_stay_apart(tmp_path: Path) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_stage_with_a_long_name = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(80)])

        def forward(self, x):
            return self.a_stage_with_a_long_name(x).mean((2, 3))

    made = sparsebp.plan(Deep(), "1MB", input_size=(3, 4, 4))
    plots.plot_memory(made, tmp_path / "memory.svg")
    named = [text for text in texts(tmp_path / "memory.svg") if text.startswith("...")]
    assert 30 < len(named) <= 60
    assert max(map(len, named)) <= 24
    assert "...ge_with_a_long_name.0" in named


@pytest.mark.usefixtures("drawing")
def test_pictures_have_a_readable_size(plan: Plan, tmp_path: Path) -> None:
    plots.plot_memory(plan, tmp_path / "memory.png")
    with Image.open(tmp_path / "memory.png") as picture:
        assert picture.width >= 1200
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    for category in ("saved", "masks", "gradients", "scratch"):
        red, green, blue = bytes.fromhex(plots.COLOURS[category][1:])
        assert (red, green, blue) in colours


def test_every_kind_of_memory_has_a_colour_of_its_own() -> None:
    assert set(plots.COLOURS) == set(CATEGORIES)
    assert len(set(plots.COLOURS.values())) == len(CATEGORIES)


# -- the curves of a run --------------------------------------------------------------------------


@pytest.mark.usefixtures("drawing")
def test_the_curves_of_a_run(tmp_path: Path) -> None:
    losses = [(i / 10, math.exp(-i / 10)) for i in range(31)]
    plots.plot_curves(losses, [(1, 0.5), (2, 0.75), (3, 0.7)], tmp_path / "curves.svg", "a run")
    written = texts(tmp_path / "curves.svg")
    assert {"a run", "epoch", "training loss, smoothed", "test accuracy, %"} <= set(written)
    assert "last 70.00%, best 75.00% after epoch 2" in written


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize(
    ("losses", "accuracies"),
    [([], []), ([(0.5, 2.0)], []), ([(1.0, 2.0)], [(1, 0.1)]), ([(0.1, 2.0), (0.2, math.nan)], [(1, 0.0)])],
    ids=["nothing yet", "one loss", "one epoch", "not a number"],
)
def test_a_run_that_has_hardly_begun_can_be_drawn(
    losses: Sequence[tuple[float, float]], accuracies: Sequence[tuple[int, float]], tmp_path: Path
) -> None:
    plots.plot_curves(losses, accuracies, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width >= 1200


# -- files, and matplotlib ------------------------------------------------------------------------


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.svg", "a.pdf", "two.dots.jpg"])
def test_a_file_that_can_be_written(name: str, tmp_path: Path) -> None:
    plots.check_plot_file(tmp_path / name)
    assert not list(tmp_path.iterdir()), "checking writes nothing"


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize(
    ("name", "error", "expected"),
    [
        ("a.xyz", ValueError, r"expected a file name that ends in .*\.png.*, got '.*a\.xyz'"),
        ("a.pgf", ValueError, "expected a file name that ends in"),
        ("a", ValueError, "expected a file name that ends in"),
        ("absent/a.png", FileNotFoundError, "there is no folder .*absent"),
        ("folder.png", IsADirectoryError, r"folder\.png is a folder"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_early(
    name: str, error: type[Exception], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=expected):
        plots.check_plot_file(tmp_path / name)


def test_without_matplotlib_the_message_says_what_to_install(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    file = tmp_path / "a.png"
    for draw in (
        plots.require_matplotlib,
        lambda: plots.check_plot_file(file),
        lambda: plots.plot_memory(plan, file),
        lambda: plots.plot_curves([], [], file),
    ):
        with pytest.raises(ImportError, match=r"pip install 'sparsebp\[plot\]'"):
            draw()
    assert not file.exists()


@pytest.mark.usefixtures("drawing")
def test_the_users_backend_stays_as_it_is(plan: Plan, tmp_path: Path) -> None:
    loaded = "matplotlib.pyplot" in sys.modules
    plots.plot_memory(plan, tmp_path / "a.png")
    assert ("matplotlib.pyplot" in sys.modules) == loaded
