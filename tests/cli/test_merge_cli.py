"""``sparsebp merge``."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import Run, run
from small_plans import noise, small_plan
from sparsebp.cli.errors import Exit
from sparsebp.runtime import Session, merge_deltas

__all__ = ["run"]  # fixtures


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``base``, and what two machines trained of it."""
    place = tmp_path_factory.mktemp("merge")
    small_plan(place / "base")
    for steps, name in enumerate(("monday", "tuesday"), 1):
        session = Session(place / "base")
        for step in range(steps):
            session.train(noise(4, step), [0, 1, 2, 0])
        session.save_delta(place / name)
    return place


def test_deltas_become_one_plan_file(place: Path, run: Run) -> None:
    deltas = [place / "monday", place / "tuesday"]
    code, out, err = run("merge", *map(str, [place / "base", *deltas, "--out", place / "out", "--weights", "3,1"]))
    assert (code, err) == (Exit.OK, "")
    assert "weight 3" in out
    merge_deltas(place / "base", deltas, place / "wanted", [3, 1])
    assert (place / "out").read_bytes() == (place / "wanted").read_bytes()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--weights", "3,x"], "--weights: expected numbers such as 120,80, got '3,x'"),
        (["--weights", "3"], "--weights: expected one for each of 2 deltas, got 1"),
        (["--out", "{place}/monday"], "--out: {place}/monday would replace a file that is still needed"),
    ],
)
def test_wrong_requests_are_refused(place: Path, run: Run, more: list[str], words: str) -> None:
    given = [word.format(place=place) for word in more]
    names = [place / name for name in ("base", "monday", "tuesday")]
    code, _, err = run("merge", *map(str, [*names, "--out", place / "never", *given]))
    assert code == Exit.USAGE
    assert words.format(place=place) in err.replace("\n", " ")
    assert not (place / "never").exists()
