"""The part of ``train`` that learns from pictures as they come: its options, and what it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import check_apart, check_writable
from ...units import format_bytes, parse_bytes
from ..encoding import KINDS
from .errors import OK
from .options import between, whole
from .output import say

if TYPE_CHECKING:
    from ..session import Session
    from ..stop import StopRequest

REPLAY = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options to those of ``train``, which has ``--out``, ``--every`` and ``--allow-new-classes``."""
    group = parser.add_argument_group("learning from pictures as they come")
    group.add_argument(
        "--watch", type=Path, metavar="FOLDER", help="learn from what comes into FOLDER/CLASS/, until Ctrl-C"
    )
    group.add_argument(
        "--reservoir",
        type=size,
        metavar="SIZE",
        help="keep features of earlier pictures in OUT.reservoir, a file of at most SIZE such as 8MB, to replay them",
    )
    group.add_argument("--reservoir-file", type=Path, metavar="FILE", help="keep them here instead")
    group.add_argument(
        "--reservoir-kind", choices=list(KINDS), help="how they are stored (default: as they are; uint8 in a new file)"
    )
    group.add_argument(
        "--replay", type=whole(0, 4096), default=REPLAY, metavar="N", help=f"of them in each step (default: {REPLAY})"
    )
    group.add_argument(
        "--patience",
        type=between(0, 1e6),
        default=2.0,
        metavar="S",
        help="seconds after which a file that cannot be read and does not grow is no picture (default: 2)",
    )
    group.add_argument("--stop-after", type=whole(1), metavar="N", help="pictures after which it stops by itself")


def run(session: Session, given: argparse.Namespace, stop: StopRequest) -> int:
    """Watches ``given.watch`` until it is stopped.

    Raises:
        OSError, ValueError: an option, a file or a folder is wrong, or a disk is full.
        TrainingDiverged: see :func:`..watching.watch`.
    """
    from .. import seen_pictures  # none of these for runs on a folder, which do without
    from ..reservoir import Reservoir
    from ..watching import watch

    if not given.watch.is_dir():
        raise NotADirectoryError(f"--watch: {given.watch} is no folder; make it, with a folder per class inside")
    out = check_writable(given.out, "--out")
    settings = {
        "allow_new_classes": given.allow_new_classes,
        "replay": given.replay,
        "every": given.every,
        "patience": given.patience,
        "stop": stop,
        "say": say,
        "stop_after": given.stop_after,
    }
    if given.reservoir is None:
        _check_unused(given)
        watch(session, given.watch, out, **settings)
        return OK
    path = check_writable(given.reservoir_file or out.with_name(f"{out.name}.reservoir"), "--reservoir-file")
    check_apart(path, "--reservoir-file", (out, seen_pictures.beside(out)))
    with Reservoir.open(path, given.reservoir, session, kind=given.reservoir_kind) as reservoir:
        say(
            f"{path}: {sum(reservoir.kept.values())} of {reservoir.capacity} pictures in {format_bytes(reservoir.size)}"
        )
        watch(session, given.watch, out, reservoir=reservoir, **settings)
    return OK


def _check_unused(given: argparse.Namespace) -> None:
    for option, value in (("file", given.reservoir_file), ("kind", given.reservoir_kind)):
        if value is not None:
            raise ValueError(f"--reservoir-{option} has no effect without --reservoir SIZE; give both or neither")


def size(text: str) -> int:
    """A type for argparse: bytes."""
    try:
        return parse_bytes(text, "size")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("size: ")) from None
