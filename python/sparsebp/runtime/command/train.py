"""Trains a plan file on a folder of pictures, and tells how well it recognises held-out ones before and after.

PICTURES holds a folder a class, or train/ and test/ with these; of one without test/ a share of each class is held out.
OUT is written right away, every --every steps and at the end, whole or not at all; OUT.run.json beside it says what the
run is. After Ctrl-C, a kill or a power cut the same command with --resume goes on and ends with the same bits.

With --watch instead of --data it never ends: it learns from pictures as they come into FOLDER/CLASS/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...data.dataset import DEFAULT_TEST_SHARE
from ...data.opening import open_dataset
from ...files import check_apart, check_writable
from ..deltas import make_delta
from ..locks import only_writer
from ..run_file import check_ended
from ..session import Session, metadata_of
from ..stop import StopRequest
from ..threads import set_threads
from ..training_run import Settings, TrainingRun, check_replaceable
from . import watch_options
from .options import add_plan, add_threads, between, whole
from .output import say
from .progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_plan(parser)
    parser.add_argument("--data", type=Path, metavar="PICTURES", help="a folder with a folder per class")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="the trained plan file; may be PLAN")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs", type=whole(1), metavar="N", help="passes over the pictures (default: to the end of the schedule)"
    )
    length.add_argument("--steps", type=whole(1), metavar="N", help="steps, of as many pictures as the plan says")
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of the pictures' order (default: 0)")
    parser.add_argument(
        "--rate",
        type=between(0, 1e6),
        default=1.0,
        metavar="X",
        help="factor of the plan's learning rates (default: 1)",
    )
    parser.add_argument("--mirror", action="store_true", help="mirror every other picture, left to right")
    parser.add_argument(
        "--test-share",
        type=between(0, 1),
        default=DEFAULT_TEST_SHARE,
        metavar="X",
        help=f"of each class, held out where the pictures have no test folder (default: {DEFAULT_TEST_SHARE})",
    )
    parser.add_argument("--every", type=whole(1), default=200, metavar="N", help="steps between saves (default: 200)")
    parser.add_argument("--resume", action="store_true", help="go on with OUT's run; begin one if there is none")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT that belongs to no run")
    parser.add_argument(
        "--allow-new-classes", action="store_true", help="take a spare output for a class that the plan has not"
    )
    parser.add_argument("--delta", type=Path, metavar="FILE", help="write also what has changed between PLAN and OUT")
    watch_options.add_arguments(parser)
    add_threads(parser)


def run(given: argparse.Namespace) -> int:
    set_threads(given.threads)
    if (given.data is None) == (given.watch is None):
        raise ValueError("train: expected either --data PICTURES, to learn from them, or --watch FOLDER, as they come")
    with only_writer(check_writable(given.out, "--out")):
        return _watch(given) if given.data is None else _learn(given)


def _watch(given: argparse.Namespace) -> int:
    _check_unused(given, "--watch", ("epochs", "steps", "delta", "mirror", "seed", "test_share"))
    if not given.overwrite or given.resume:
        check_ended(given.out)
    goes_on = given.resume and given.out.exists()
    check_replaceable(given.plan, given.out, given.resume, given.overwrite or goes_on)
    session = Session(given.out if goes_on else given.plan)
    session.rate = given.rate
    with StopRequest() as stop:
        code = watch_options.run(session, given, stop)
        stop.check(given.out)
    return code


def _learn(given: argparse.Namespace) -> int:
    _check_unused(
        given, "--data", ("reservoir", "reservoir_file", "reservoir_kind", "replay", "patience", "stop_after")
    )
    if given.delta is not None:
        if given.out.resolve() == given.plan.resolve():
            raise ValueError("--delta: OUT replaces PLAN, so that nothing is left to compare with; give another --out")
        check_writable(given.delta, "--delta")
        check_apart(given.delta, "--delta", (given.plan, given.out))
    levels = metadata_of(given.plan).get("preprocess", {}).get("levels")
    data = open_dataset(given.data, test_share=given.test_share, levels=levels)
    with StopRequest() as stop, Progress() as progress:
        training = TrainingRun(
            given.plan,
            data,
            given.out,
            Settings(given.epochs, given.steps, given.seed, given.rate, given.mirror),
            every=given.every,
            resume=given.resume,
            overwrite=given.overwrite,
            new_classes=given.allow_new_classes,
        )
        progress.begins(training, data)
        training.run(progress, stop)
    if given.delta is not None:
        with only_writer(given.delta):
            make_delta(given.plan, given.out, given.delta)
        say(f"{given.delta}: {given.delta.stat().st_size:,} bytes, of {given.out.stat().st_size:,}")
    return 0


def _check_unused(given: argparse.Namespace, way: str, options: tuple[str, ...]) -> None:
    """Options that would have no effect are refused rather than ignored."""
    for name in options:
        if getattr(given, name) != given.parser.get_default(name):
            raise ValueError(f"--{name.replace('_', '-')} has no effect with {way}; leave it out")
