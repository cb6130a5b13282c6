"""Says what is on pictures, with probabilities."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ...data.broken import BrokenPicture
from ..pictures import Reader
from ..session import Session
from ..threads import set_threads
from .errors import FAILED, OK
from .options import add_plan, add_threads, whole
from .output import complain, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_plan(parser)
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="a file")
    parser.add_argument("--top", type=whole(1), default=3, metavar="N", help="classes to name of each (default: 3)")
    parser.add_argument("--json", action="store_true", help="one JSON object a picture and line, with every class")
    add_threads(parser)


def run(given: argparse.Namespace) -> int:
    set_threads(given.threads)
    session = Session(given.plan)
    reader, code = Reader(session), OK
    names = list(session.classes or map(str, range(session.sizes.classes)))
    for file in given.pictures:
        try:
            pixels = reader.read(file)
        except BrokenPicture as error:
            complain(str(error))
            code = FAILED
            continue
        shares = _softmax(session.predict(pixels[None])[0])
        order = np.argsort(-shares, kind="stable")
        if given.json:
            found = {"file": str(file), "class": names[order[0]], "probability": float(shares[order[0]])}
            every = {name: float(share) for name, share in zip(names, shares, strict=True)}
            print(json.dumps({**found, "probabilities": every}), flush=True)
        else:
            listed = ", ".join(f"{names[i]} {100 * shares[i]:.1f} %" for i in order[: given.top])
            say(f"{file}: {listed}")
    return code


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    shares: np.ndarray = powers / powers.sum()
    return shares
