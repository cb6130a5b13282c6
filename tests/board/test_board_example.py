"""The example in C on emulated ARM processors trains what a session trains on this machine.

``make check-board-example`` builds the program for both architectures and names in ``SPARSEBP_BOARD_EXAMPLES`` the
folder that they lie in.
"""

from __future__ import annotations

import os
from pathlib import Path

import fifty_steps
import pytest
from adapt_program import CLASSES, answer, call, export, pictures, trained
from c_library import ROOT
from sparsebp.runtime import Session

SIDE = 96
EPOCHS = 1
SCOPES = ("training", "step")
PROCESSORS = {"cortex-a53": "aarch64", "cortex-a76": "aarch64", "cortex-a7": "armhf"}


@pytest.fixture(scope="module")
def examples() -> Path:
    folder = os.environ.get("SPARSEBP_BOARD_EXAMPLES")
    if not folder:
        pytest.skip("SPARSEBP_BOARD_EXAMPLES does not name what make board-example-aarch64 has built")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def place(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plans of both scopes, pictures, and what a session on this machine makes of them."""
    folder = tmp_path_factory.mktemp("board")
    taken = pictures(folder / "pictures", each=1)
    for scope in SCOPES:
        export(folder / scope, fifty_steps.network(None, len(CLASSES)), SIDE, scope, lr=0.001)
        trained(folder / scope, taken, EPOCHS).save(folder / f"{scope}.expected")
    return folder


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_program_trains_the_same_bits(processor: str, scope: str, examples: Path, place: Path) -> None:
    architecture = PROCESSORS[processor]
    adapt = [ROOT / "cross" / "bin" / f"run-{architecture}", examples / f"board-{architecture}" / "example" / "adapt"]
    env = {**os.environ, "QEMU_CPU": processor}
    out, expected = place / f"{processor}.{scope}", place / f"{scope}.expected"
    trains = call(adapt, "train", place / scope, out, EPOCHS, place / "pictures", env=env)
    assert (trains.returncode, trains.stderr) == (0, "")
    assert out.read_bytes() == expected.read_bytes()
    file = place / "pictures" / "ant" / "0.ppm"
    predicts = call(adapt, "predict", out, file, env=env)
    session = Session(expected)
    assert predicts.stdout == f"{file}: {answer(session, file)}\n"
