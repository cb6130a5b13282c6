"""The options of ``sparsebp-runtime train --watch``."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from PIL import Image
from small_plans import noise, small_plan
from sparsebp.runtime import Reservoir, Session
from sparsebp.runtime.command import watch_options
from sparsebp.runtime.stop import StopRequest
from training import one_thread  # noqa: F401


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A plan, and pictures of two of its classes and of another one."""
    small_plan(tmp_path / "plan")
    for seed, name in enumerate(("ant", "bee", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number, pixels in enumerate(noise(4, seed)):
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path


def parsed(place: Path, *words: str) -> argparse.Namespace:
    """As ``train`` has them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--allow-new-classes", action="store_true")
    watch_options.add_arguments(parser)
    given = parser.parse_args(["--out", str(place / "out"), "--watch", str(place / "pictures"), *words])
    assert isinstance(given, argparse.Namespace)
    return given


def run(place: Path, *words: str, plan: str = "plan") -> int:
    with StopRequest() as stop:
        return watch_options.run(Session(place / plan), parsed(place, *words), stop)


def test_it_learns_replays_and_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--reservoir", "64KB", "--replay", "3")
    assert run(place, *words, "--stop-after", "8") == 0
    said = capsys.readouterr().out
    assert f"{place / 'out.reservoir'}: 0 of " in said
    assert "dog: it is no class of this plan, and new ones are not allowed; it is passed over" in said
    assert "8 pictures, " in said
    assert run(place, *words, "--stop-after", "4", "--allow-new-classes", plan="out") == 0
    assert "dog: a new class, number 3" in capsys.readouterr().out
    session = Session(place / "out")
    assert (session.progress.batches, session.classes) == (12, ["ant", "bee", "cow", "dog"])
    with Reservoir.open(place / "out.reservoir", "64KB", session) as reservoir:
        assert sorted(reservoir.kept.items()) == [("ant", 4), ("bee", 4), ("dog", 4)]


def test_a_reservoir_lies_where_it_is_told(place: Path) -> None:
    words = ("--reservoir", "64KB", "--reservoir-kind", "float16", "--reservoir-file", str(place / "kept"))
    assert run(place, *words, "--stop-after", "2") == 0
    assert not (place / "out.reservoir").exists()
    with Reservoir.open(place / "kept", "64KB", Session(place / "plan")) as reservoir:
        assert reservoir.kind == "float16"


def test_without_a_reservoir_nothing_is_kept(place: Path) -> None:
    assert run(place, "--stop-after", "2") == 0
    assert sorted(p.name for p in place.iterdir()) == ["out", "out.seen", "pictures", "plan"]


def test_wrong_options_are_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(place, "--reservoir", "8 elephants")
    assert "--reservoir: expected whole bytes as a positive int or a string such as '256KB'" in capsys.readouterr().err
    with pytest.raises(NotADirectoryError, match=r"--watch: .*nothing is no folder; make it, with a folder per class"):
        run(place, "--watch", str(place / "nothing"))
    with pytest.raises(FileNotFoundError, match="--out: there is no folder"):
        run(place, "--out", str(place / "nowhere" / "out"))
    with pytest.raises(ValueError, match="reservoir: expected at least"):
        run(place, "--reservoir", "100B")
