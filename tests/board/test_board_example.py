"""The example in C on emulated ARM processors trains what a session trains on this machine.

``make check-board-example`` builds the program for both architectures and names in ``SPARSEBP_BOARD_EXAMPLES`` the
folder that they lie in.
"""

from __future__ import annotations

import os
from pathlib import Path

import fifty_steps
import pytest
import sparsebp
import torch
from adapt_program import CLASSES, call, export, pictures, trained
from c_library import ROOT
from networks import relative_error

SIDE = 96
WITH_ALL_BITS = ["cortex-a53", "cortex-a76"]
EPOCHS = 1


@pytest.fixture(scope="module")
def examples() -> Path:
    folder = os.environ.get("SPARSEBP_BOARD_EXAMPLES")
    if not folder:
        pytest.skip("SPARSEBP_BOARD_EXAMPLES does not name what make board-example-aarch64 has built")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def place(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan, pictures, and what a session on this machine makes of them."""
    folder = tmp_path_factory.mktemp("board")
    export(folder / "plan", fifty_steps.network(None, len(CLASSES)), SIDE, lr=0.001)
    trained(folder / "plan", pictures(folder / "pictures", each=2), EPOCHS).save(folder / "expected")
    return folder


def on(processor: str, architecture: str, examples: Path, place: Path) -> str:
    """Trains on a processor, to the file called like it; what the program printed of a picture then."""
    program = [ROOT / "cross" / "bin" / f"run-{architecture}", examples / f"board-{architecture}" / "example" / "adapt"]
    env = {**os.environ, "QEMU_CPU": processor}
    trains = call(program, "train", place / "plan", place / processor, EPOCHS, place / "pictures", env=env)
    assert (trains.returncode, trains.stderr) == (0, "")
    return call(program, "predict", place / processor, place / "pictures" / "ant" / "1.ppm", env=env).stdout


@pytest.mark.parametrize("processor", WITH_ALL_BITS)
def test_64_bit_arm_trains_the_same_bits(processor: str, examples: Path, place: Path) -> None:
    predicted = on(processor, "aarch64", examples, place)
    assert (place / processor).read_bytes() == (place / "expected").read_bytes()
    assert all(name in predicted for name in CLASSES)


def test_32_bit_arm_trains_within_rounding(examples: Path, place: Path) -> None:
    on("cortex-a7", "armhf", examples, place)
    before, after, expected = (sparsebp.load_file(place / name) for name in ("plan", "cortex-a7", "expected"))
    for name, value in expected.items():
        if not torch.equal(before[name], value):
            print(name, relative_error(after[name] - before[name], value - before[name]))
