"""Trains a plan file with what a board has, numpy and sparsebp-runtime: what two processors are compared by.

    python tests/helpers/board_steps.py PLAN PICTURES.npy OUT

writes the plan file after the first step and after the last to OUT, and prints what it ran with, as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import requires
from pathlib import Path

import numpy as np
from sparsebp_runtime import _C, Session


def main() -> None:
    plan, pictures, out = map(Path, sys.argv[1:])
    _C.set_plain_threads(2)
    session = Session(plan)
    for step, picture in enumerate(np.load(pictures)):
        session.train(picture[None], [step % session.sizes.classes])
        if step == 0:
            session.save(out / "first")
    session.save(out / "last")
    loaded = sorted({name.partition(".")[0] for name in sys.modules})
    print(json.dumps({"isa": _C.chosen_isa(), "requires": requires("sparsebp-runtime"), "loaded": loaded}))


if __name__ == "__main__":
    main()
