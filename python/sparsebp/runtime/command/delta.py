"""Makes a delta, what has changed from one plan file to another, applies deltas, or merges those of several boards."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import check_apart, check_writable
from ..deltas import apply_delta, make_delta
from ..locks import only_writer
from .help_text import HelpText
from .output import say

if TYPE_CHECKING:
    from ..merging import Merged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(metavar="make | apply | merge", required=True, dest="what")
    made = what.add_parser("make", help="what has changed from BASE to NEW", formatter_class=HelpText)
    made.add_argument("base", type=Path, metavar="BASE", help="a plan file")
    made.add_argument("new", type=Path, metavar="NEW", help="the same plan, trained on")
    made.add_argument("--out", type=Path, required=True, metavar="DELTA", help="the delta that is written")
    applied = what.add_parser(
        "apply", help="what BASE becomes with deltas, in the order in which they were made", formatter_class=HelpText
    )
    applied.add_argument("base", type=Path, metavar="BASE", help="a plan file")
    applied.add_argument("deltas", type=Path, nargs="+", metavar="DELTA", help="what `make` or `train --delta` wrote")
    applied.add_argument("--out", type=Path, required=True, metavar="NEW", help="the plan file; may be BASE")
    merged = what.add_parser("merge", help="the mean of what deltas make of BASE", formatter_class=HelpText)
    merged.add_argument("base", type=Path, metavar="BASE", help="the plan file that every delta continues")
    merged.add_argument("deltas", type=Path, nargs="+", metavar="DELTA", help="of several machines, in any order")
    merged.add_argument("--out", type=Path, required=True, metavar="NEW", help="the plan file; may be BASE")
    merged.add_argument(
        "--weights", type=weights, metavar="W,W", help="of the deltas (default: the batches that each has trained)"
    )


def weights(text: str) -> list[float]:
    """A type for argparse: numbers above 0 with commas between them."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < number < float("inf") for number in found):
        raise argparse.ArgumentTypeError(f"expected numbers above 0, such as 120,80, got {text!r}")
    return found


def run(given: argparse.Namespace) -> int:
    with only_writer(check_writable(given.out, "--out")):
        return _run(given)


def _run(given: argparse.Namespace) -> int:
    if given.what == "make":
        check_apart(given.out, "--out", (given.base, given.new))
        make_delta(given.base, given.new, given.out)
        share = given.out.stat().st_size / given.new.stat().st_size
        say(f"{given.out}: {given.out.stat().st_size:,} bytes, {100 * share:.1f} % of {given.new}")
        return 0
    check_apart(given.out, "--out", given.deltas)
    if given.what == "merge":
        from ..merging import merge_deltas  # which other commands need not load

        for line in said(merge_deltas(given.base, given.deltas, given.out, given.weights), given):
            say(line)
        return 0
    # Step by step beside the result, which the last step writes: so it appears only if all of them could be applied.
    # After a kill the next writer of the result removes the part, which is called as those of all writers are.
    part = given.out.with_name(f".{given.out.name}.{os.getpid()}-0.partial")
    try:
        base = given.base
        for delta in given.deltas[:-1]:
            apply_delta(base, delta, part)
            base = part
        apply_delta(base, given.deltas[-1], given.out)
    finally:
        part.unlink(missing_ok=True)
    say(f"{given.out}: {given.out.stat().st_size:,} bytes, {given.base} with {len(given.deltas)} deltas")
    return 0


def said(merged: Merged, given: argparse.Namespace) -> list[str]:
    """What was merged."""
    weighed = zip(given.deltas, merged.weights, strict=True)
    return [
        *(f"{delta}: weight {weight:g}" for delta, weight in weighed),
        f"{given.out}: {merged.rows:,} rows, of which {merged.shared_rows:,} are means of several, and "
        f"{merged.tensors:,} tensors of which something was trained",
    ]
