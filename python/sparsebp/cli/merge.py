"""``sparsebp merge``: one plan file of what several machines trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files import check_apart, check_writable
from ..runtime import merge_deltas
from ..runtime.locks import only_writer
from .console import print_pairs


def merge(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The plan file that every delta continues.")],
    deltas: Annotated[list[Path], typer.Argument(metavar="DELTA...", help="Of several machines, in any order.")],
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="The plan file; may be BASE.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W,W", help="Of the deltas, in their order; by default the batches that each has trained."
        ),
    ] = None,
) -> None:
    """Averages what several machines trained from one plan file.

    Each row of a weight becomes the mean over those that trained it; shifts, biases and the classifier become the mean
    of all. The result does not depend on the order of the deltas.
    """
    check_writable(out_file, "--out")
    check_apart(out_file, "--out", deltas)
    with only_writer(out_file):
        merged = merge_deltas(base, deltas, out_file, None if weights is None else _parse(weights))
    print_pairs(
        [
            *((str(delta), f"weight {weight:g}") for delta, weight in zip(deltas, merged.weights, strict=True)),
            ("rows", f"{merged.rows:,} trained, {merged.shared_rows:,} of them by several"),
            ("tensors", f"{merged.tensors:,} of which something was trained"),
            ("file", f"{out_file}: {out_file.stat().st_size:,} bytes"),
        ]
    )


def _parse(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"expected numbers such as 120,80, got {text!r}", param_hint="--weights") from None
